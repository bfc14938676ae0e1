"""Gradients carried forward in time: `spikeloom.learning.Online` as a rule of `fit`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.taps import Moment
from ...functional.loss import ce_rate_loss, mse_membrane_loss
from ...functional.loss_base import LossFunctions
from ...learning import Online
from ..job import Job, Probe
from ..readout import one_number
from .rule import Outcome, Rule, refusal

__all__ = ["EProp"]


@dataclass(frozen=True)
class EProp(Rule, name="eprop"):
    """Gradients carried forward in time by traces of the synapses, with memory that does not grow
    with T.

    The loss is the mean over the steps of a loss of one step: ``ce_rate_loss()`` (the default),
    ``mse_membrane_loss()``, or a function of yours, called with the outputs [1, B, N] of each step.

    >>> EProp().name
    'eprop'
    """

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

    def check(self, job: Job, probe: Probe) -> None:
        Online(job.net, _unused)  # pyright: ignore[reportArgumentType] (that is what it checks)

    def learn(self, job: Job, x: Tensor, y: Tensor) -> Outcome:
        value, static = job.encoder.call(x)
        steps = len(value) if static is None else static
        seen: list[Tensor] = []

        def loss(output: Any, labels: Tensor) -> Tensor:
            outputs = job.output_of(output).unsqueeze(0)
            seen.append(outputs.detach())
            return one_number(job.readout.loss(outputs, labels), job.readout.name)

        learner = Online(job.net, loss)  # pyright: ignore[reportArgumentType] (checked)
        learner.reset()
        job.optimizer.zero_grad()
        with _spikes(job) as spikes:
            losses = [
                learner.step(value[t] if static is None else value, y, scale=1 / steps)
                for t in range(steps)
            ]
        job.optimizer.step()
        fired = {path: torch.stack(each) for path, each in spikes.items()}
        return Outcome(torch.stack(losses).mean().item(), torch.cat(seen), fired)


@contextmanager
def _spikes(job: Job) -> Iterator[dict[str, list[Tensor]]]:
    """What each layer fires inside the block, one entry a step."""
    found: dict[str, list[Tensor]] = {path: [] for path in job.layers}
    neurons: dict[str, Any] = {path: job.net.get_submodule(path) for path in job.layers}
    before = {path: neuron._taps for path, neuron in neurons.items()}

    def tap(path: str) -> Callable[[Any, Moment], None]:
        return lambda neuron, moment: found[path].append(moment.output.detach())

    for path, neuron in neurons.items():
        neuron._taps = (*before[path], tap(path))
    try:
        yield found
    finally:
        for path, neuron in neurons.items():
            neuron._taps = before[path]


def _unused(output: Any, target: Any) -> Tensor:
    raise NotImplementedError("only the network is checked")
