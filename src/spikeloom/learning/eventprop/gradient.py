"""Exact gradients of an ordinary network, for a loss of spike times: what `fit` and
`gradient_report` call."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..gradients import collected, gives_gradients
from .network import EventNetwork, Stage, step_spikes

__all__ = ["EventPass", "event_loss", "event_pass"]


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
    """Run a network in continuous time and take a loss of its spike times; ``backward()`` of that
    is exact.

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


@gives_gradients("eventprop")
def eventprop(net: nn.Module, x: Tensor, y: Tensor, loss: Callable[..., Tensor]) -> list[Tensor]:
    """Exact gradients in continuous time."""
    return collected(
        net, lambda: event_pass(net, x, y, loss, slope_floor=0.0).loss.sum().backward()
    )
