"""SpikeProp as a layer of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...core.numbers import MOST_UNITS, flag, numbers_of, random_source, real, whole
from .function import srm_first_spikes
from .response import AlphaResponse, Response

__all__ = ["SpikeProp"]


class SpikeProp(nn.Module):
    """A layer of SpikeProp: each synapse has K delayed terminals; see `srm_first_spikes`.

    Layers are put together by ``nn.Sequential``, to any depth, and learn with any optimiser from
    any loss of spike times. Weights begin uniformly between 0 and twice ``mean``; they may become
    negative.

    Args:
        inputs: I.
        neurons: J.
        delays: of the terminals, in the unit of time.
        response: the kernel; default is ``AlphaResponse(7.0)``.
        threshold: of the membrane.
        until: end of the simulation.
        dt: step of the grid on which crossings are looked for.
        mean: of the weights at first. Default: 3 thresholds shared by the terminals of all inputs.
        learn_delays: whether the delays learn.
        slope_floor: as for `srm_first_spikes`.
        generator: source of randomness; default is torch's global one.

    Raises:
        ValueError: no delays; otherwise, in use, as `srm_first_spikes`.

    Source: Bohte, Kok & La Poutré (2002), Neurocomputing 48, 17-37.

    >>> net = nn.Sequential(SpikeProp(4, 5), SpikeProp(5, 2))
    >>> net(torch.tensor([[0.0, 3.0, 6.0, torch.inf]])).shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        inputs: int,
        neurons: int,
        *,
        delays: Sequence[float] = tuple(range(1, 17)),
        response: Response | None = None,
        threshold: float = 1.0,
        until: float = 40.0,
        dt: float = 1.0,
        mean: float | None = None,
        learn_delays: bool = False,
        slope_floor: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        inputs = whole("inputs", inputs, 1, MOST_UNITS)
        neurons = whole("neurons", neurons, 1, MOST_UNITS)
        threshold = real("threshold", threshold, 0.0, open_low=True)
        until = real("until", until, 0.0, open_low=True)
        dt = real("dt", dt, 0.0, open_low=True)
        learn_delays = flag("learn_delays", learn_delays)
        generator = random_source(generator)
        if not isinstance(delays, (Sequence, Tensor)) or isinstance(delays, (str, bytes)):
            raise TypeError(
                f"delays must be a sequence of times, got {delays!r}; write delays=(1.0,)"
            )
        if isinstance(delays, Tensor):
            delays = numbers_of("delays", delays).flatten().tolist()
        delays = [real("delays", delay, 0.0) for delay in delays]
        if not len(delays):
            raise ValueError(
                "delays must name at least one terminal, got none; write delays=(1.0,)"
            )
        mean = 3.0 * threshold / (inputs * len(delays)) if mean is None else mean
        self.weight = nn.Parameter(
            2 * mean * torch.rand(neurons, inputs, len(delays), generator=generator)
        )
        values = torch.tensor(delays, dtype=self.weight.dtype)
        if learn_delays:
            self.delays = nn.Parameter(values)
        else:
            self.register_buffer("delays", values)
        self.response = AlphaResponse(7.0) if response is None else response
        self.threshold = threshold
        self.until = until
        self.dt = dt
        self.slope_floor = slope_floor

    def forward(self, times: Tensor) -> Tensor:
        """First spike times [B, J] for those of the inputs, [B, I]."""
        return srm_first_spikes(
            times,
            self.weight,
            self.delays.clamp(min=0.0),  # an optimiser may have passed 0
            until=self.until,
            response=self.response,
            threshold=self.threshold,
            dt=self.dt,
            slope_floor=self.slope_floor,
        )

    def extra_repr(self) -> str:
        """Sizes."""
        neurons, inputs, terminals = self.weight.shape
        return f"{inputs}, {neurons}, terminals={terminals}, until={self.until:g}"
