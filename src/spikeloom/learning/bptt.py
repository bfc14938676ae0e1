"""Backpropagation through time, whole or in chunks."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.numbers import whole
from ..core.surrogate import Disabled
from ..core.tree import detach, named_neurons, reset
from ..running import run
from .training import Loss, Outcome, TrainingRule, collected, first, learned, refusal

__all__ = ["BPTT", "TBPTT"]


@dataclass(frozen=True)
class BPTT(TrainingRule, name="bptt"):
    """Backpropagation through all time steps with surrogate gradients.

    >>> BPTT().name
    'bptt'
    """

    chaotic: ClassVar[bool] = True
    whole: ClassVar[bool] = True
    lengths: ClassVar[bool] = True

    def check(self, job: Any, probe: Any) -> None:
        blind = [
            path
            for path, neuron in named_neurons(job.net)
            if isinstance(neuron.spike_grad, Disabled)
        ]
        if job.last in blind and job.readout.field == "spk":
            raise ValueError(
                refusal(
                    self,
                    f"the spikes of {blind[0]!r} have no gradient",
                    "leave out surrogate_disable=True",
                )
            )

    def learn(self, job: Any, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> Outcome:
        job.measure(x)
        options = {} if lengths is None else {"lengths": lengths}
        outputs, spikes = job.forward(x, **options)
        loss = job.objective(outputs, y, spikes, **options)
        total = loss if job.chaos is None else loss + job.chaos()
        job.optimizer.zero_grad()
        job.optimizer.backward(total)
        job.optimizer.step()
        if job.chaos is not None:
            job.chaos.step()
        return Outcome(loss.item(), outputs.detach(), spikes)

    def gradients(self, net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
        if all(isinstance(neuron.spike_grad, Disabled) for _, neuron in named_neurons(net)):
            raise ValueError("no spike has a gradient; leave out surrogate_disable=True")
        value = loss(first(run(net, x)), y).sum()
        return list(torch.autograd.grad(value, learned(net), materialize_grads=True))


@dataclass(frozen=True)
class TBPTT(BPTT, name="tbptt"):
    """Backpropagation through ``K`` steps, then a change of the weights.

    No gradient reaches an earlier chunk. The loss is taken of each chunk: a wanted number of spikes
    is that of K steps. The last chunk may be shorter. `gradients` keeps the weights constant.

    Args:
        K: steps of a chunk, from 1 to T.

    >>> TBPTT(K=2)
    TBPTT(K=2)
    """

    K: int = 5
    chaotic: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    lengths: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole("K", self.K, 1)

    def check(self, job: Any, probe: Any) -> None:
        super().check(job, probe)
        if probe.num_steps < self.K:
            raise ValueError(
                f"K must not exceed the number of steps, got K={self.K} for {probe.num_steps} "
                f"steps; write rule=TBPTT(K={max(1, probe.num_steps // 2)}), or use {self.K} steps "
                "or more"
            )
        for path, neuron in named_neurons(job.net):
            if "step" not in neuron.modes:
                what = f"{type(neuron).__name__} {path!r} runs whole sequences, the rule parts"
                raise TypeError(refusal(self, what, 'write rule="bptt"'))

    def learn(self, job: Any, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> Outcome:
        value, static = job.encoder.call(x)
        steps = len(value) if static is None else static
        loss_sum = 0.0
        parts: list[tuple[Tensor, dict[str, Tensor]]] = []
        for start in range(0, steps, self.K):
            size = min(self.K, steps - start)
            chunk = value[start : start + size] if static is None else value
            outputs, spikes = job.run(chunk, None if static is None else size, reset=start == 0)
            loss = job.loss(outputs, y)
            job.optimizer.zero_grad()
            job.optimizer.backward(loss)
            job.optimizer.step()
            detach(job.net)
            loss_sum += loss.item() * size / steps
            parts.append((outputs.detach(), {path: spk.detach() for path, spk in spikes.items()}))
        joined = {path: torch.cat([spikes[path] for _, spikes in parts]) for path in job.layers}
        return Outcome(loss_sum, torch.cat([outputs for outputs, _ in parts]), joined)

    def gradients(self, net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
        if len(x) <= self.K:
            raise ValueError(
                f"a chunk has {self.K} steps, got {len(x)} in all; show the network for longer"
            )

        def work() -> None:
            reset(net)
            for chunk in x.split(self.K):
                part = loss(first(run(net, chunk, reset=False)), y).sum() * (len(chunk) / len(x))
                part.backward()
                detach(net)

        return collected(net, work)
