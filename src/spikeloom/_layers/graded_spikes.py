"""snnTorch's graded spikes under the name of their module."""

from ..layers.graded import GradedSpikes as GradedSpikes

__all__ = ["GradedSpikes"]
