"""Unsupervised learning by STDP: the network of Diehl & Cook (2015) and its two engines.

`model` is the network, step by step; `training` presents many images by `batched` or `event`;
`voting` names neurons.
"""

from .model import DiehlAndCook2015
from .training import Row

__all__ = ["DiehlAndCook2015", "Row"]
