"""snnTorch's private package of neurons, for code that imports from it: the same classes under its
module names.

``from spikeloom._neurons.leaky import Leaky`` is `spikeloom.Leaky`. New code imports from
`spikeloom`.
"""

import sys

from ..core.neuron import Neuron as SpikingNeuron
from ..neurons import (
    alpha,
    associative_leaky,
    delta_leaky,
    lapicque,
    leaky,
    leaky_parallel,
    linear_leaky,
    rleaky,
    rsynaptic,
    sconv2dlstm,
    slstm,
    state_leaky,
    synaptic,
)
from ..neurons.alpha import Alpha as Alpha
from ..neurons.associative_leaky import AssociativeLeaky as AssociativeLeaky
from ..neurons.delta_leaky import DeltaLeaky as DeltaLeaky
from ..neurons.lapicque import Lapicque as Lapicque
from ..neurons.leaky import LIF as LIF
from ..neurons.leaky import Leaky as Leaky
from ..neurons.leaky_parallel import LeakyParallel as LeakyParallel
from ..neurons.linear_leaky import LinearLeaky as LinearLeaky
from ..neurons.rleaky import RLeaky as RLeaky
from ..neurons.rsynaptic import RSynaptic as RSynaptic
from ..neurons.sconv2dlstm import SConv2dLSTM as SConv2dLSTM
from ..neurons.slstm import SLSTM as SLSTM
from ..neurons.state_leaky import StateLeaky as StateLeaky
from ..neurons.synaptic import Synaptic as Synaptic
from . import neurons as neurons

__all__ = [
    "LIF",
    "SLSTM",
    "Alpha",
    "AssociativeLeaky",
    "DeltaLeaky",
    "Lapicque",
    "Leaky",
    "LeakyParallel",
    "LinearLeaky",
    "RLeaky",
    "RSynaptic",
    "SConv2dLSTM",
    "SpikingNeuron",
    "StateLeaky",
    "Synaptic",
]

# the modules stand in Python's table, so that ``import spikeloom._neurons.leaky`` finds them
# without a file for each
for _name, _module in {
    "alpha": alpha,
    "associative": associative_leaky,
    "deltaleaky": delta_leaky,
    "lapicque": lapicque,
    "leaky": leaky,
    "leakyparallel": leaky_parallel,
    "linearleaky": linear_leaky,
    "rleaky": rleaky,
    "rsynaptic": rsynaptic,
    "sconv2dlstm": sconv2dlstm,
    "slstm": slstm,
    "stateleaky": state_leaky,
    "synaptic": synaptic,
}.items():
    sys.modules[f"{__name__}.{_name}"] = _module
    globals()[_name] = _module
