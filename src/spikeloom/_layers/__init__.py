"""snnTorch's private package of layers, for code that imports from it: the same classes under its
module names."""

from .bntt import BatchNormTT1d as BatchNormTT1d
from .bntt import BatchNormTT2d as BatchNormTT2d
from .graded_spikes import GradedSpikes as GradedSpikes

__all__ = ["BatchNormTT1d", "BatchNormTT2d", "GradedSpikes"]
