"""Learning rules by name: each changes the network on one batch."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .job import Job

__all__ = ["RULES", "Outcome", "bptt"]


class Outcome(NamedTuple):
    """What a rule saw on a batch, before it changed the network."""

    loss: float
    outputs: Tensor  # [T, B, N]
    spikes: dict[str, Tensor]  # of each layer, [T, B, ...]


def bptt(job: Job, x: Tensor, y: Tensor) -> Outcome:
    """Backpropagation through all time steps with surrogate gradients."""
    job.measure(x)
    outputs, spikes = job.forward(x)
    loss = job.loss(outputs, y)
    total = loss if job.chaos is None else loss + job.chaos()
    job.optimizer.zero_grad()
    total.backward()
    job.optimizer.step()
    if job.chaos is not None:
        job.chaos.step()
    return Outcome(loss.item(), outputs.detach(), spikes)


RULES: dict[str, Callable[[Job, Tensor, Tensor], Outcome]] = {"bptt": bptt}
