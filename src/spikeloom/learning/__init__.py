"""Learning rules that are not plain backpropagation: gradients carried forward in time, and Hebbian rules.

A rule adds to ``weight.grad`` or returns a change; any optimiser applies it.
"""

from .bp_stdp import BPSTDP, Presentation, bp_stdp
from .diehl_cook import DiehlAndCook2015, Row
from .gradients import GRADIENTS, gives_gradients
from .hebbian import correlate, outer, trace
from .online import Online, cosine, online
from .reward import MSTDP, MSTDPET, Eligibility
from .rule import Memory, Rule, Term
from .rules import Exponential, PostPre, PowerLaw, Triplet
from .spike_errors import SpikeError, desired_spikes
from .stbp import STBP_CURVES, Wu2018, stbp_neuron
from .stdp import PairRule, Traces
from .tavanaei_maida import TavanaeiAndMaida, TravanaeiAndMaida2017

__all__ = [
    "BPSTDP",
    "GRADIENTS",
    "MSTDP",
    "MSTDPET",
    "STBP_CURVES",
    "DiehlAndCook2015",
    "Eligibility",
    "Exponential",
    "Memory",
    "Online",
    "PairRule",
    "PostPre",
    "PowerLaw",
    "Presentation",
    "Row",
    "Rule",
    "SpikeError",
    "TavanaeiAndMaida",
    "Term",
    "Traces",
    "TravanaeiAndMaida2017",
    "Triplet",
    "Wu2018",
    "bp_stdp",
    "correlate",
    "cosine",
    "desired_spikes",
    "gives_gradients",
    "online",
    "outer",
    "stbp_neuron",
    "trace",
]
