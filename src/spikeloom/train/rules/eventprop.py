"""Exact gradients of spike times as a rule of `fit`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...functional.loss_temporal import ce_temporal_loss
from ...learning import EventNetwork, push_silent
from ...learning.eventprop.gradient import EventPass, event_pass
from ..job import Job, Probe
from .rule import Outcome, Rule, refusal

__all__ = ["EventProp"]


@dataclass(frozen=True)
class EventProp(Rule, name="eventprop"):
    """Exact gradients of spike times in continuous time: `learning.EventNetwork`, for networks of
    `Synaptic` neurons.

    The loss is one of spike times, by default ``ce_temporal_loss()``. While it learns, the network
    has no time steps; it is judged in steps, as with every rule. Silent neurons have no gradient
    and are pushed: outputs in the samples of their class, hidden neurons if they are silent in a
    whole batch.

    Args:
        push: gradient of the weights of a silent neuron.
        slope_floor: as for `learning.lif_spikes`.

    >>> EventProp(push=0.5)
    EventProp(push=0.5, slope_floor=0.1)
    """

    push: float = 1.0
    slope_floor: float = 0.1

    def loss(self, given: Any) -> Callable[..., Tensor]:
        if given is not None and not hasattr(given, "spk_time_fn"):
            raise ValueError(
                refusal(self, "the loss does not read spike times", "write loss=ce_temporal_loss()")
            )
        return ce_temporal_loss() if given is None else given

    def check(self, job: Job, probe: Probe) -> None:
        EventNetwork(job.net)

    def learn(self, job: Job, x: Tensor, y: Tensor) -> Outcome:
        value, static = job.encoder.call(x)
        value = value if static is None else value.unsqueeze(0).expand(static, *value.shape)
        job.optimizer.zero_grad()
        shown = event_pass(job.net, value, y, job.readout.loss, self.slope_floor)
        shown.loss.backward()
        self._push(shown, y)
        job.optimizer.step()
        spikes = shown.spikes(len(value))
        return Outcome(shown.loss.item(), spikes[job.last], spikes)

    def _push(self, shown: EventPass, y: Tensor) -> None:
        for stage in shown.stages:
            spikes = shown.times[stage.path]
            if stage is shown.stages[-1]:
                wanted = nn.functional.one_hot(y, spikes.shape[1]).bool()
            else:
                wanted = torch.isinf(spikes[..., 0]).all(0).expand(spikes.shape[:2])
            if stage.linear.weight.grad is not None:
                push_silent(stage.linear.weight, spikes, self.push, wanted)
