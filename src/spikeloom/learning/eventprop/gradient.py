"""Exact gradients of an ordinary network, for a loss of spike times, and the rule of `fit`."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...functional.loss_temporal import ce_temporal_loss
from ..timing import push_silent
from ..training import Outcome, TrainingRule, collected, refusal
from .network import EventNetwork, Stage, step_spikes

__all__ = ["EventPass", "EventProp", "event_loss", "event_pass"]


class EventPass(NamedTuple):
    """A batch in continuous time.

    Attributes:
        loss: with a graph, ().
        times: spikes of every layer of neurons, [B, J, K] in steps, by its path.
        stages: the layers, in the same order.

    >>> EventPass(torch.zeros(()), {"1": torch.tensor([[[0.4, 2.6]]])}).spikes(4)["1"].flatten()
    tensor([1., 0., 1., 0.])
    """

    loss: Tensor
    times: dict[str, Tensor]
    stages: tuple[Stage, ...] = ()

    def spikes(self, num_steps: int) -> dict[str, Tensor]:
        """The same as spike trains in steps, [T, B, J]."""
        return {path: step_spikes(times, num_steps) for path, times in self.times.items()}


def event_pass(
    net: nn.Module, x: Tensor, y: Tensor, loss: Callable[..., Tensor], slope_floor: float = 1e-2
) -> EventPass:
    """Run a network in continuous time and return a loss of spike times with exact gradients.

    Args:
        net: as `EventNetwork` reads it.
        x: input over time, [T, B, ...].
        y: classes [B].
        loss: ``functional.ce_temporal_loss()`` or ``mse_temporal_loss()``.
        slope_floor: as for `lif_spikes`.

    Raises:
        TypeError: a network that does not fit.
        ValueError: another loss.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Synaptic(0.8, 0.9, init_hidden=True))
    >>> x, labels = 2 * torch.rand(20, 4, 3), torch.tensor([0, 1, 1, 0])
    >>> shown = event_pass(net, x, labels, snn.functional.ce_temporal_loss())
    >>> shown.loss.backward(); net[0].weight.grad.shape
    torch.Size([2, 3])
    """
    network = EventNetwork(net, max_spikes=_needed(loss), slope_floor=slope_floor)
    times = network(x)
    value = event_loss(loss, times[-1], y, len(x))
    by_path = {stage.path: each for stage, each in zip(network.stages, times, strict=True)}
    return EventPass(value, by_path, tuple(network.stages))


def event_loss(loss: Any, times: Tensor, y: Tensor, num_steps: int) -> Tensor:
    """A loss of spike times in steps, of exact times in their place.

    A spike of step n is one between n and n + 1, so that a time t counts as step t - 1/2. Silent
    outputs count as firing in the last step, as they do for the loss itself.

    Args:
        loss: as for `event_pass`.
        times: of the outputs, [B, N, K].
        y: classes [B].
        num_steps: T.

    Raises:
        ValueError: the loss reads something else than spike times.

    >>> import spikeloom as snn
    >>> times = torch.tensor([[[0.5], [1.5]]])
    >>> event_loss(snn.functional.ce_temporal_loss(), times, torch.tensor([0]), 3)
    tensor(0.3133)
    """
    _needed(loss)
    train = step_spikes(times, num_steps)
    rounded, wanted = loss.spk_time_fn(train, y)
    number = len(rounded) if rounded.dim() == 3 else 1
    missing = max(0, number - times.shape[-1])
    padded = nn.functional.pad(times, (0, missing), value=torch.inf)[..., :number].movedim(-1, 0)
    exact = torch.where(torch.isfinite(padded), padded - 0.5, float(num_steps - 1))
    own = copy.copy(loss)
    own.spk_time_fn = lambda *_: (exact if rounded.dim() == 3 else exact[0], wanted)
    return own(train, y)


def _needed(loss: Any) -> int | None:
    """How many spikes of an output the loss reads; None: several."""
    found = getattr(loss, "spk_time_fn", None)
    if found is None:
        raise ValueError(
            "exact gradients are those of spike times, on which a number of spikes does not "
            "depend, got a loss that "
            f"reads {getattr(loss, '__name__', type(loss).__name__)}; write "
            "loss=snn.functional.ce_temporal_loss()"
        )
    return None if found.multi_spike else 1


@dataclass(frozen=True)
class EventProp(TrainingRule, name="eventprop"):
    """Exact gradients of spike times by `learning.EventNetwork`, for nets of `Synaptic` neurons.

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

    def check(self, job: Any, probe: Any) -> None:
        EventNetwork(job.net)

    def learn(self, job: Any, x: Tensor, y: Tensor) -> Outcome:
        value, static = job.encoder.call(x)
        value = value if static is None else value.unsqueeze(0).expand(static, *value.shape)
        job.optimizer.zero_grad()
        shown = event_pass(job.net, value, y, job.readout.loss, self.slope_floor)
        shown.loss.backward()
        self._push(shown, y)
        job.optimizer.step()
        spikes = shown.spikes(len(value))
        return Outcome(shown.loss.item(), spikes[job.last], spikes)

    def gradients(self, net: nn.Module, x: Tensor, y: Tensor, loss: Any) -> list[Tensor]:
        """Exact gradients in continuous time; silent neurons are not pushed."""
        return collected(net, lambda: event_pass(net, x, y, loss, 0.0).loss.sum().backward())

    def _push(self, shown: EventPass, y: Tensor) -> None:
        for stage in shown.stages:
            spikes = shown.times[stage.path]
            if stage is shown.stages[-1]:
                wanted = nn.functional.one_hot(y, spikes.shape[1]).bool()
            else:
                wanted = torch.isinf(spikes[..., 0]).all(0).expand(spikes.shape[:2])
            if stage.linear.weight.grad is not None:
                push_silent(stage.linear.weight, spikes, self.push, wanted)
