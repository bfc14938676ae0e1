"""BP-STDP as a rule of `fit`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...kernels.events.choice import by_input_alone
from ...learning.bp_stdp import bp_stdp, check_network
from ...learning.spike_errors import SpikeError, desired_spikes
from ..job import Job, Probe
from .rule import Outcome, Rule, refusal

__all__ = ["BPSTDP"]


@dataclass(frozen=True)
class BPSTDP(Rule, name="bp_stdp"):
    """Errors of output spikes, passed down through the weights: `learning.bp_stdp`, for networks of
    `IF` neurons.

    Samples are spikes (``encode="rate"``), the optimiser is SGD of rate 0.02 unless another one is
    given, and the loss is the rule's own error.

    Args:
        epsilon: steps before a desired spike in which spikes count.
        interval: steps between the desired spikes of the class neuron.

    >>> BPSTDP(epsilon=2)
    BPSTDP(epsilon=2, interval=4)
    """

    epsilon: int = 4
    interval: int = 4

    def __post_init__(self) -> None:
        self.loss(None)

    def loss(self, given: Any) -> Callable[..., Tensor]:
        if given is not None:
            raise ValueError(
                refusal(self, "it has an error of its own, got loss", "leave loss out")
            )
        return SpikeError(self.epsilon, self.interval)

    def optimizer(self, parameters: Iterable[Tensor], lr: float | None) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, 0.02 if lr is None else lr)

    def check(self, job: Job, probe: Probe) -> None:
        check_network(job.net)
        desired_spikes(probe.num_steps, self.interval)
        value, static = job.encoder.call(job.samples.example[:2].to(job.device))
        if static is not None or not bool(((value == 0) | (value == 1)).all()):
            why = f"it counts input spikes, got encode={job.encoder.name!r}"
            raise ValueError(refusal(self, why, 'write encode="rate"'))

    def learn(self, job: Job, x: Tensor, y: Tensor) -> Outcome:
        value, _ = job.encoder.call(x)
        job.optimizer.zero_grad()
        desired = desired_spikes(len(value), self.interval)
        net: Any = job.net  # of the right kind, as checked
        with by_input_alone():  # as in `Job.run`
            shown = bp_stdp(net, value, y, epsilon=self.epsilon, desired=desired)
        job.optimizer.step()
        return Outcome(shown.error.item(), shown.spikes[job.last], shown.spikes)
