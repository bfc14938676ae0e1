"""A Bernoulli encoder as an object, like n3ml's `Simple`."""

import torch
from torch import Tensor

from ..core.numbers import random_source, real, whole
from .rate_coding import rate

__all__ = ["BernoulliEncoder"]


class BernoulliEncoder:
    """Spikes whose probability at each step is the value divided by ``scale``.

    Args:
        time_interval: T, in steps.
        scale: value that fires at every step, > 0.
        generator: source of randomness; default is torch's global one.

    Raises:
        ValueError: ``scale`` or ``time_interval`` is not positive.

    >>> BernoulliEncoder(20)(torch.rand(1, 28, 28)).shape
    torch.Size([20, 1, 28, 28])
    """

    def __init__(
        self, time_interval: int, scale: float = 1.0, *, generator: torch.Generator | None = None
    ) -> None:
        self.time_interval = whole("time_interval", time_interval, 1)
        self.scale = real("scale", scale, 0.0, open_low=True)
        self.generator = random_source(generator)

    def __call__(self, values: Tensor) -> Tensor:
        """Spikes for values from 0 to ``scale``.

        Args:
            values: [...]; values a little outside saturate.

        Returns:
            Spikes 0 or 1, [T, ...].

        Raises:
            TypeError: ``values`` is not floating point.
            ValueError: NaN, infinity, or values beyond four times the ``scale``.
        """
        return rate(values, self.time_interval, gain=1 / self.scale, generator=self.generator)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(time_interval={self.time_interval}, scale={self.scale:g})"
