"""Learning rules of `fit`, one file for each family."""

from .bp_stdp import BPSTDP
from .eventprop import EventProp
from .gradients import BPTT, TBPTT
from .online import EProp
from .rule import RULES, Outcome, Rule, refusal, rule_of
from .stbp import STBP

__all__ = [
    "BPSTDP",
    "BPTT",
    "RULES",
    "STBP",
    "TBPTT",
    "EProp",
    "EventProp",
    "Outcome",
    "Rule",
    "refusal",
    "rule_of",
]
