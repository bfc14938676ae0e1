"""Learning rules that are not plain backpropagation: gradients carried forward in time, and Hebbian rules.

A rule adds to ``weight.grad`` or returns a change; any optimiser applies it.
"""

from .diehl_cook import DiehlAndCook2015, Row
from .hebbian import correlate, outer, trace
from .online import Online, cosine, online
from .reward import MSTDP, MSTDPET, Eligibility
from .rule import Memory, Rule, Term
from .rules import Exponential, PostPre, PowerLaw, Triplet
from .stdp import PairRule, Traces

__all__ = [
    "MSTDP",
    "MSTDPET",
    "DiehlAndCook2015",
    "Eligibility",
    "Exponential",
    "Memory",
    "Online",
    "PairRule",
    "PostPre",
    "PowerLaw",
    "Row",
    "Rule",
    "Term",
    "Traces",
    "Triplet",
    "correlate",
    "cosine",
    "online",
    "outer",
    "trace",
]
