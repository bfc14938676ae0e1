"""Rules of `fit` that learn from one time step after the other, with memory independent of T."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..core.lengths import cut
from ..core.taps import noted
from ..functional.loss import ce_rate_loss, mse_membrane_loss
from ..functional.loss_base import LossFunctions
from .training import Loss as BatchLoss
from .training import Outcome, TrainingRule, collected, first, refusal

__all__ = ["Learner", "StepLoss", "StepwiseRule"]

StepLoss = Callable[[Any, Any], Tensor]


class Learner(Protocol):
    """What runs one time step of a network, and adds its gradient to ``grad``."""

    def reset(self) -> None:
        """Forget what is known of a sequence."""

    def step(self, x: Tensor, target: Any, *, scale: float = 1.0) -> Tensor:
        """Run one step, add its gradient times ``scale``, and return its loss without graph."""
        ...


@dataclass(frozen=True)
class StepwiseRule(TrainingRule):
    """Base of the rules whose gradient is a sum over the steps, each known in its step.

    The loss is the mean over the steps of a loss of one step: ``ce_rate_loss()`` (the default),
    ``mse_membrane_loss()``, or a function of yours, called with the outputs [1, B, N] of each step.

    >>> from spikeloom.learning import RULES
    >>> issubclass(RULES["sltt"], StepwiseRule)
    True
    """

    lengths: ClassVar[bool] = True

    @property
    def changes_at_every_step(self) -> bool:
        """Whether the weights change in every step; else once for each batch."""
        return False

    def learner(self, net: Any, loss: StepLoss) -> Learner:
        """What runs the steps.

        Raises:
            TypeError, ValueError: the rule does not apply to the network.
        """
        raise NotImplementedError(f"{type(self).__name__} must define learner(net, loss)")

    def scales(self, steps: int) -> list[float]:
        """The factor of the gradient of each step; 0: the step runs without one."""
        return [1 / steps] * steps

    def loss(self, given: Any) -> Callable[..., Tensor]:
        if isinstance(given, LossFunctions) and not isinstance(
            given, (ce_rate_loss, mse_membrane_loss)
        ):
            raise ValueError(
                refusal(
                    self,
                    f"{given.__name__} is no mean over single steps",
                    "write loss=ce_rate_loss() or leave it out",
                )
            )
        return ce_rate_loss() if given is None else given

    def check(self, job: Any, probe: Any) -> None:
        self.learner(job.net, _unused)

    def learn(self, job: Any, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> Outcome:
        value, static = job.encoder.call(x)
        steps = len(value) if static is None else static
        seen: list[Tensor] = []

        def loss(output: Any, labels: Tensor) -> Tensor:
            outputs = job.output_of(output).unsqueeze(0)
            seen.append(outputs.detach())
            if lengths is None:
                return job.loss(outputs, labels)
            counts = (lengths >= len(seen)).to(outputs.dtype) * steps / lengths
            return self._weighted(job.readout.loss, outputs, labels, counts)

        learner = self.learner(job.net, loss)
        learner.reset()
        losses = []
        job.optimizer.zero_grad()
        with noted(job.net, job.layers, lambda moment: moment.output.detach()) as spikes:
            for t, scale in enumerate(self.scales(steps)):
                x_t = value[t] if static is None else value
                losses.append(learner.step(x_t, y, scale=scale))
                if self.changes_at_every_step:
                    job.optimizer.step()
                    job.optimizer.zero_grad()
        if not self.changes_at_every_step:
            job.optimizer.step()
        fired = {path: torch.stack(each) for path, each in spikes.items()}
        if lengths is not None:
            fired = {path: cut(spk, lengths) for path, spk in fired.items()}
        return Outcome(torch.stack(losses).mean().item(), torch.cat(seen), fired)

    def _weighted(self, loss: Any, outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """A loss of the library with a weight for each sample, [B].

        Raises:
            TypeError: another loss, which cannot tell the samples apart.
        """
        if not isinstance(loss, LossFunctions) or loss.reduction == "none":
            raise TypeError(
                f"{self.name} weights the samples of unequal length at each step, got a loss that "
                "is one number for all of them; write loss=snn.functional.ce_rate_loss() or leave "
                "it out"
            )
        each = copy.copy(loss)
        each.reduction = "none"
        values = each(outputs, labels).reshape(len(weights), -1)
        if loss.reduction == "mean":
            return (values.mean(1) * weights).mean()
        return (values.sum(1) * weights).sum()

    def gradients(self, net: nn.Module, x: Tensor, y: Tensor, loss: BatchLoss) -> list[Tensor]:
        seen: list[Tensor] = []

        def of_step(output: Any, target: Tensor) -> Tensor:
            spk = first(output).unsqueeze(0)
            seen.append(spk.detach())
            return loss(spk, target)

        learner = self.learner(net, of_step)
        losses: list[Tensor] = []

        def work() -> None:
            learner.reset()
            for x_t, scale in zip(x, self.scales(len(x)), strict=True):
                losses.append(learner.step(x_t, y, scale=scale))

        found = collected(net, work)
        whole = float(loss(torch.cat(seen), y))
        mean = float(torch.stack(losses).mean())
        if abs(mean - whole) > 1e-4 * max(abs(whole), 1e-6):
            raise ValueError(
                f"the loss is no mean over single steps: {whole:.4g} for all of them, "
                f"{mean:.4g} on average; write loss=functional.ce_rate_loss()"
            )
        return found


def _unused(output: Any, target: Any) -> Tensor:
    raise NotImplementedError("only the network is checked")
