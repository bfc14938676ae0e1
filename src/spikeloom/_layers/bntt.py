"""snnTorch's batch normalisation through time under the name of its module."""

from ..layers.batchnorm import BatchNormTT1d as BatchNormTT1d
from ..layers.batchnorm import BatchNormTT2d as BatchNormTT2d

__all__ = ["BatchNormTT1d", "BatchNormTT2d"]
