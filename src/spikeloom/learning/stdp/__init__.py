"""Spike-timing-dependent plasticity: the base of its rules, and the rules."""

from .rule import Memory, Rule, Term
from .rules import Exponential, PairRule, PostPre, PowerLaw, Triplet, unchanged

Traces = Memory  # the earlier name

__all__ = [
    "Exponential",
    "Memory",
    "PairRule",
    "PostPre",
    "PowerLaw",
    "Rule",
    "Term",
    "Traces",
    "Triplet",
    "unchanged",
]
