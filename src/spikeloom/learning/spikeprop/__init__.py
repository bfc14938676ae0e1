"""SpikeProp: gradients of first spike times of spike response neurons (Bohte et al. 2002)."""

from .bohte import Bohte, Bohte2002
from .function import srm_first_spikes
from .layer import SpikeProp
from .response import AlphaResponse, DoubleExponential, Response

__all__ = [
    "AlphaResponse",
    "Bohte",
    "Bohte2002",
    "DoubleExponential",
    "Response",
    "SpikeProp",
    "srm_first_spikes",
]
