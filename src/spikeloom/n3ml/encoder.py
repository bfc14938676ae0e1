"""n3ml's encoders."""

import torch

from ..spikegen import BernoulliEncoder, PoissonEncoder

__all__ = ["PoissonEncoder", "Simple"]


class Simple(BernoulliEncoder):
    """`BernoulliEncoder` with n3ml's scale.

    >>> Simple(time_interval=20)
    Simple(time_interval=20, scale=5)
    """

    def __init__(self, time_interval: int, scale: float = 5.0, *, generator: torch.Generator | None = None) -> None:
        super().__init__(time_interval, scale, generator=generator)
