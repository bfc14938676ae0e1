"""Backpropagation through time, whole or in chunks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.surrogate import Disabled
from ...core.tree import detach, named_neurons
from ..job import Job, Probe
from ..settings import whole
from .rule import Outcome, Rule, refusal

__all__ = ["BPTT", "TBPTT"]


@dataclass(frozen=True)
class BPTT(Rule, name="bptt"):
    """Backpropagation through all time steps with surrogate gradients.

    >>> BPTT().name
    'bptt'
    """

    chaotic = True
    whole = True

    def check(self, job: Job, probe: Probe) -> None:
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

    def learn(self, job: Job, x: Tensor, y: Tensor) -> Outcome:
        job.measure(x)
        outputs, spikes = job.forward(x)
        loss = job.objective(outputs, y, spikes)
        total = loss if job.chaos is None else loss + job.chaos()
        job.optimizer.zero_grad()
        total.backward()
        job.optimizer.step()
        if job.chaos is not None:
            job.chaos.step()
        return Outcome(loss.item(), outputs.detach(), spikes)


@dataclass(frozen=True)
class TBPTT(BPTT, name="tbptt"):
    """Backpropagation through ``K`` steps, then a change of the weights; no gradient reaches an
    earlier chunk.

    The loss is taken of each chunk: a wanted number of spikes is that of K steps. A shorter chunk
    may end the sequence.

    Args:
        K: steps of a chunk, from 1 to T.

    >>> TBPTT(K=2)
    TBPTT(K=2)
    """

    K: int = 5
    chaotic = False
    whole = False

    def __post_init__(self) -> None:
        whole("K", self.K)

    def check(self, job: Job, probe: Probe) -> None:
        super().check(job, probe)
        if probe.num_steps < self.K:
            raise ValueError(
                f"K must not exceed the number of steps, got K={self.K} for {probe.num_steps} "
                "steps; "
                f"write rule=TBPTT(K={max(1, probe.num_steps // 2)})"
            )

    def learn(self, job: Job, x: Tensor, y: Tensor) -> Outcome:
        value, static = job.encoder.call(x)
        steps = len(value) if static is None else static
        loss_sum, parts = 0.0, []
        for start in range(0, steps, self.K):
            size = min(self.K, steps - start)
            chunk = value[start : start + size] if static is None else value
            outputs, spikes = job.run(chunk, None if static is None else size, reset=start == 0)
            loss = job.loss(outputs, y)
            job.optimizer.zero_grad()
            loss.backward()
            job.optimizer.step()
            detach(job.net)
            loss_sum += loss.item() * size / steps
            parts.append((outputs.detach(), {path: spk.detach() for path, spk in spikes.items()}))
        joined = {path: torch.cat([spikes[path] for _, spikes in parts]) for path in job.layers}
        return Outcome(loss_sum, torch.cat([outputs for outputs, _ in parts]), joined)
