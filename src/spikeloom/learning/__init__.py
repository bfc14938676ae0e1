"""Learning rules that are not plain backpropagation: gradients carried forward in time, and Hebbian rules.

A rule adds to ``weight.grad`` or returns a change; any optimiser applies it.
"""

from .hebbian import correlate, outer, trace
from .online import Online, cosine, online
from .stdp import PairRule, Traces

__all__ = ["Online", "PairRule", "Traces", "correlate", "cosine", "online", "outer", "trace"]
