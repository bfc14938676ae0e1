"""Learning rules that are not plain backpropagation: gradients carried forward in time, and Hebbian
rules.

A rule adds to ``weight.grad`` or returns a change; any optimiser applies it.
"""

from .bp_stdp import BPSTDP, Presentation, bp_stdp
from .diehl_cook import DiehlAndCook2015, Row
from .eventprop import (
    EventLIF,
    EventNetwork,
    EventPass,
    event_loss,
    event_pass,
    lif_maxima,
    lif_spikes,
)
from .gradients import GRADIENTS, gives_gradients
from .hebbian import correlate, outer, trace
from .online import Online, cosine, online
from .reward import MSTDP, MSTDPET, Eligibility
from .rule import Memory, Rule, Term
from .rules import Exponential, PostPre, PowerLaw, Triplet
from .spike_errors import SpikeError, desired_spikes
from .spikeprop import (
    AlphaResponse,
    Bohte,
    Bohte2002,
    DoubleExponential,
    Response,
    SpikeProp,
    srm_first_spikes,
)
from .stbp import STBP_CURVES, Wu2018, stbp_neuron
from .stdp import PairRule, Traces
from .tavanaei_maida import TavanaeiAndMaida, TravanaeiAndMaida2017
from .timing import first_spike_loss, first_times, push_silent

__all__ = [
    "BPSTDP",
    "GRADIENTS",
    "MSTDP",
    "MSTDPET",
    "STBP_CURVES",
    "AlphaResponse",
    "Bohte",
    "Bohte2002",
    "DiehlAndCook2015",
    "DoubleExponential",
    "Eligibility",
    "EventLIF",
    "EventNetwork",
    "EventPass",
    "Exponential",
    "Memory",
    "Online",
    "PairRule",
    "PostPre",
    "PowerLaw",
    "Presentation",
    "Response",
    "Row",
    "Rule",
    "SpikeError",
    "SpikeProp",
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
    "event_loss",
    "event_pass",
    "first_spike_loss",
    "first_times",
    "gives_gradients",
    "lif_maxima",
    "lif_spikes",
    "online",
    "outer",
    "push_silent",
    "srm_first_spikes",
    "stbp_neuron",
    "trace",
]
