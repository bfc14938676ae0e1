"""The rules of `fit`; each is in the file of its algorithm in `spikeloom.learning`.

A rule of your own is a subclass of `Rule` with a name; it needs no other file.
"""

from ..learning.bp_stdp import BPSTDPTraining as BPSTDP
from ..learning.bptt import BPTT, TBPTT
from ..learning.eventprop import EventProp
from ..learning.online import OTTT, EProp
from ..learning.registry import RULES, rules_of
from ..learning.spatial import SLTT
from ..learning.stbp import STBP
from ..learning.training import Outcome, refusal
from ..learning.training import TrainingRule as Rule

__all__ = [
    "BPSTDP",
    "BPTT",
    "OTTT",
    "RULES",
    "SLTT",
    "STBP",
    "TBPTT",
    "EProp",
    "EventProp",
    "Outcome",
    "Rule",
    "refusal",
    "rules_of",
]
