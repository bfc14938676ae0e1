"""Layers of neurons that live in continuous time: spike times in, spike times out."""

from typing import Any

import torch
from torch import Tensor, nn

from ...core.numbers import MOST_UNITS, flag, random_source, real, whole
from .function import lif_maxima, lif_spikes

__all__ = ["EventLIF"]


class EventLIF(nn.Module):
    """Current-based LIF neurons with weights, from spike times to spike times: `lif_spikes`.

    Layers are put together by ``nn.Sequential``. Weights are drawn from a normal distribution;
    since a silent neuron has no gradient, ``mean`` should be positive and so large that most
    neurons fire.

    Args:
        inputs: I.
        neurons: J.
        until: end of the simulation, in the unit of time of the other arguments.
        tau_m: time constant of the membranes.
        tau_s: time constant of the synapses.
        threshold: theta.
        mean: of the weights at first. Default: half of what lets all inputs together, at once,
            reach the threshold twice over, ``4 theta / I``.
        std: of the weights at first. Default: ``mean / 2``.
        fires: False for a readout that returns the highest membranes, [B, J], in place of spikes.
        recurrent: whether the neurons have synapses on each other, with weights 0 at first.
        recurrent_delay: of these.
        delays: the longest delay of a synapse at first, drawn uniformly from 0 on and learned.
            Default: no delays.
        learn_tau: learn ``tau_m`` and ``tau_s``.
        max_spikes: after so many spikes a neuron stays silent; 1 where only the first spikes are
            read.
        slope_floor: as for `lif_spikes`.
        generator: source of randomness; default is torch's global one.

    Raises:
        ValueError: a readout with recurrent weights; otherwise, in use, as `lif_spikes`.

    >>> net = nn.Sequential(
    ...     EventLIF(3, 20, until=50.0, mean=4.0), EventLIF(20, 2, until=50.0, max_spikes=1)
    ... )
    >>> net(torch.tensor([[0.0, 5.0, torch.inf]])).shape
    torch.Size([1, 2, 1])
    """

    delay: Tensor | None
    recurrent: Tensor | None
    tau_m: Tensor
    tau_s: Tensor

    def __init__(
        self,
        inputs: int,
        neurons: int,
        *,
        until: float,
        tau_m: float = 20.0,
        tau_s: float = 5.0,
        threshold: float = 1.0,
        mean: float | None = None,
        std: float | None = None,
        fires: bool = True,
        recurrent: bool = False,
        recurrent_delay: float = 0.0,
        delays: float | None = None,
        learn_tau: bool = False,
        max_spikes: int | None = None,
        slope_floor: float = 1e-2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if recurrent and not fires:
            raise ValueError(
                "a readout has no spikes to send back, got fires=False, recurrent=True; leave one "
                "out"
            )
        inputs = whole("inputs", inputs, 1, MOST_UNITS)
        neurons = whole("neurons", neurons, 1, MOST_UNITS)
        fires = flag("fires", fires)
        recurrent = flag("recurrent", recurrent)
        learn_tau = flag("learn_tau", learn_tau)
        until = real("until", until)
        threshold = real("threshold", threshold, 0.0, open_low=True)
        recurrent_delay = real("recurrent_delay", recurrent_delay, 0.0, example=0.0)
        generator = random_source(generator)
        mean = 4.0 * threshold / inputs if mean is None else mean
        std = abs(mean) / 2 if std is None else std
        self.weight = nn.Parameter(mean + std * torch.randn(neurons, inputs, generator=generator))
        self.recurrent = nn.Parameter(torch.zeros(neurons, neurons)) if recurrent else None
        drawn = (
            None if delays is None else delays * torch.rand(neurons, inputs, generator=generator)
        )
        self.delay = None if drawn is None else nn.Parameter(drawn)
        self._register_tau("tau_m", tau_m, learn_tau)
        self._register_tau("tau_s", tau_s, learn_tau)
        self.until = until
        self.threshold = threshold
        self.fires = fires
        self.recurrent_delay = recurrent_delay
        self.max_spikes = max_spikes
        self.slope_floor = slope_floor

    def _register_tau(self, name: str, value: Any, learn: bool) -> None:
        tau = torch.tensor(real(name, value, 0.0, open_low=True))
        if learn:
            self.register_parameter(name, nn.Parameter(tau))
        else:
            self.register_buffer(name, tau)

    def forward(self, times: Tensor) -> Tensor:
        """Spike times [B, J, K], or maxima [B, J], for spike times [B, I] or [B, I, K']."""
        same = {"tau_m": self.tau_m, "tau_s": self.tau_s, "until": self.until, "delay": self._delay}
        if not self.fires:
            return lif_maxima(times, self.weight, **same)
        return lif_spikes(
            times,
            self.weight,
            threshold=self.threshold,
            recurrent=self.recurrent,
            recurrent_delay=self.recurrent_delay,
            max_spikes=self.max_spikes,
            slope_floor=self.slope_floor,
            **same,
        )

    @property
    def _delay(self) -> Tensor | None:
        return (
            None if self.delay is None else self.delay.clamp(min=0.0)
        )  # an optimiser may have passed 0

    def extra_repr(self) -> str:
        """Sizes and constants."""
        neurons, inputs = self.weight.shape
        return (
            f"{inputs}, {neurons}, tau_m={float(self.tau_m):g}, tau_s={float(self.tau_s):g}, "
            f"until={self.until:g}"
        )
