"""Learning rules: of `fit` (`TrainingRule`), and of plasticity (`Rule`); `RULES` names them all.

A rule adds to ``weight.grad`` or returns a change; any optimiser applies it.
"""

from .bptt import BPTT, TBPTT
from .online import OTTT, EProp, Online, cosine, online
from .spatial import SLTT

# isort: split
# the rules above come first in RULES, and so in reports

from .bp_stdp import BPSTDP, Presentation, bp_stdp
from .diehl_cook import DiehlAndCook2015, Row
from .eventprop import (
    EventLIF,
    EventNetwork,
    EventPass,
    EventProp,
    event_loss,
    event_pass,
    lif_maxima,
    lif_spikes,
)
from .hebbian import correlate, outer, trace
from .registry import RULES
from .reward import MSTDP, MSTDPET, Eligibility
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
from .stbp import STBP, STBP_CURVES, Wu2018, stbp_neuron
from .stdp import (
    Exponential,
    Memory,
    PairRule,
    PostPre,
    PowerLaw,
    Rule,
    Term,
    Traces,
    Triplet,
)
from .tavanaei_maida import TavanaeiAndMaida, TravanaeiAndMaida2017
from .timing import first_spike_loss, first_times, push_silent
from .training import GRADIENTS, Outcome, TrainingRule, gives_gradients

__all__ = [
    "BPSTDP",
    "BPTT",
    "GRADIENTS",
    "MSTDP",
    "MSTDPET",
    "OTTT",
    "RULES",
    "SLTT",
    "STBP",
    "STBP_CURVES",
    "TBPTT",
    "AlphaResponse",
    "Bohte",
    "Bohte2002",
    "DiehlAndCook2015",
    "DoubleExponential",
    "EProp",
    "Eligibility",
    "EventLIF",
    "EventNetwork",
    "EventPass",
    "EventProp",
    "Exponential",
    "Memory",
    "Online",
    "Outcome",
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
    "TrainingRule",
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
