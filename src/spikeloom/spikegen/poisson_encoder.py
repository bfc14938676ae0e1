"""A Poisson encoder as an object, in milliseconds, under n3ml's name."""

import torch
from torch import Tensor

from ..core.numbers import random_source, real
from .rate_coding import poisson

__all__ = ["PoissonEncoder"]


class PoissonEncoder:
    """Poisson spike trains of rates in Hz; multiply images in [0, 1] by a rate first.

    Args:
        T: duration of the trains in ms.
        dt: duration of a step in ms.
        generator: source of randomness; default is torch's global one.

    Raises:
        ValueError: ``dt`` is not positive, or T is shorter than a step.

    n3ml draws integer intervals and shortens those of fast neurons; here the mean rate is exact, as
    in `poisson`.

    >>> PoissonEncoder(250)(128 * torch.rand(1, 28, 28)).shape
    torch.Size([250, 1, 28, 28])
    """

    def __init__(
        self, T: float, dt: float = 1.0, *, generator: torch.Generator | None = None
    ) -> None:
        T = real("T", T, example=250.0)
        dt = real("dt", dt)
        if not 0 < dt <= T:
            raise ValueError(
                f"T must be at least dt > 0, both in ms, got T={T} and dt={dt}; write "
                "PoissonEncoder(250)"
            )
        self.num_steps = round(T / dt)
        self.dt = dt
        self.generator = random_source(generator)

    def __call__(self, rates: Tensor) -> Tensor:
        """Spikes for rates in Hz.

        Args:
            rates: firing rates in Hz, [...], from 0 to 1000 / dt.

        Returns:
            Spikes 0 or 1, [T / dt, ...].

        Raises:
            TypeError: ``rates`` is not floating point.
            ValueError: a rate is negative, NaN or above 1000 / dt.
        """
        return poisson(rates, self.dt / 1000, self.num_steps, generator=self.generator)

    def __repr__(self) -> str:
        return f"PoissonEncoder(T={self.num_steps * self.dt:g}, dt={self.dt:g})"
