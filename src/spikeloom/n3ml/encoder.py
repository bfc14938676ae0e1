"""n3ml's encoders."""

from ..spikegen import PoissonEncoder

__all__ = ["PoissonEncoder"]
