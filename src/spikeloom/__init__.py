"""Spikeloom: spiking neural networks on PyTorch.

``import spikeloom as snn``. Tensors are time first: ``[T, B, ...]`` for sequences, ``[B, ...]`` for
one step.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import surrogate
from .core.dispatch import backend, backends, residual
from .core.neuron import Neuron
from .core.options import NeuronOptions
from .core.tree import detach, noisy, reset, set_mode
from .kernels import backends as _backends  # noqa: F401 (enters the printed loops in the table of backends)
from .layers.batchnorm import (
    BatchNormTT1d,
    BatchNormTT2d,
    EachStep,
    TemporalEffectiveBatchNorm,
    ThresholdDependentBatchNorm1d,
    ThresholdDependentBatchNorm2d,
)
from .layers.delay import SynapticDelay
from .layers.delayed_conv import DelayedConv1d, DelayedConv2d
from .layers.delayed_linear import DelayedLinear
from .layers.feedback import Feedback
from .layers.graded import GradedSpikes
from .layers.spike_linear import SpikeLinear
from .neurons.adaptive_threshold_lif import AdaptiveThresholdLIF
from .neurons.adlif import AdLIF
from .neurons.alpha import Alpha
from .neurons.associative_leaky import AssociativeLeaky
from .neurons.conductance_lif import AdaptiveConductanceLIF, ConductanceLIF
from .neurons.delta_leaky import DeltaLeaky
from .neurons.exponential_if import EIF, AdEx
from .neurons.glif import GLIF
from .neurons.hodgkin_huxley import HodgkinHuxley
from .neurons.integrate_fire import IF
from .neurons.izhikevich import Izhikevich
from .neurons.lapicque import Lapicque
from .neurons.leaky import LIF, Leaky
from .neurons.leaky_integrator import LI
from .neurons.leaky_parallel import LeakyParallel
from .neurons.linear_leaky import LinearLeaky
from .neurons.parallel_spiking import PSN, MaskedPSN, SlidingPSN
from .neurons.parametric_lif import PLIF
from .neurons.quadratic_if import QIF
from .neurons.refractory_lif import RefractoryLIF
from .neurons.resonate_fire import BalancedResonateFire, ResonateFire
from .neurons.rleaky import RLeaky
from .neurons.rsynaptic import RSynaptic
from .neurons.scaled_if import ScaledIF
from .neurons.sconv2dlstm import SConv2dLSTM
from .neurons.signed_if import SignedIF
from .neurons.slstm import SLSTM
from .neurons.state_leaky import StateLeaky
from .neurons.synaptic import Synaptic
from .neurons.ternary_lif import TernaryLIF

SpikingNeuron = Neuron
__version__ = "0.1.0"

# What runs whole networks, reads files, draws, trains or needs an optional package is loaded on
# first use. Editors and type checkers see the imports.
if TYPE_CHECKING:
    from . import (
        backprop,
        blocks,
        chaos,
        conversion,
        data,
        decode,
        doctor,
        export,
        export_nir,
        functional,
        hardware,
        import_nir,
        learning,
        n3ml,
        nir,
        saving,
        spikegen,
        spikeplot,
        spikevision,
        train,
        utils,
    )
    from .doctor import gradient_report
    from .export_nir import export_to_nir
    from .import_nir import import_from_nir
    from .running import layerwise, rewrites, run
    from .saving import load, save
    from .train import evaluate, fit

__all__ = [
    "EIF",
    "GLIF",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "PSN",
    "QIF",
    "SLSTM",
    "AdEx",
    "AdLIF",
    "AdaptiveConductanceLIF",
    "AdaptiveThresholdLIF",
    "Alpha",
    "AssociativeLeaky",
    "BalancedResonateFire",
    "BatchNormTT1d",
    "BatchNormTT2d",
    "ConductanceLIF",
    "DelayedConv1d",
    "DelayedConv2d",
    "DelayedLinear",
    "DeltaLeaky",
    "EachStep",
    "Feedback",
    "GradedSpikes",
    "HodgkinHuxley",
    "Izhikevich",
    "Lapicque",
    "Leaky",
    "LeakyParallel",
    "LinearLeaky",
    "MaskedPSN",
    "Neuron",
    "NeuronOptions",
    "RLeaky",
    "RSynaptic",
    "RefractoryLIF",
    "ResonateFire",
    "SConv2dLSTM",
    "ScaledIF",
    "SignedIF",
    "SlidingPSN",
    "SpikeLinear",
    "SpikingNeuron",
    "StateLeaky",
    "Synaptic",
    "SynapticDelay",
    "TemporalEffectiveBatchNorm",
    "TernaryLIF",
    "ThresholdDependentBatchNorm1d",
    "ThresholdDependentBatchNorm2d",
    "backend",
    "backends",
    "backprop",
    "blocks",
    "chaos",
    "conversion",
    "data",
    "decode",
    "detach",
    "doctor",
    "evaluate",
    "export",
    "export_nir",
    "export_to_nir",
    "fit",
    "functional",
    "gradient_report",
    "hardware",
    "import_from_nir",
    "import_nir",
    "layerwise",
    "learning",
    "load",
    "n3ml",
    "nir",
    "noisy",
    "reset",
    "residual",
    "rewrites",
    "run",
    "save",
    "saving",
    "set_mode",
    "spikegen",
    "spikeplot",
    "spikevision",
    "surrogate",
    "train",
    "utils",
]

_HOME = {
    "evaluate": "train",
    "export_to_nir": "export_nir",
    "fit": "train",
    "gradient_report": "doctor",
    "import_from_nir": "import_nir",
    "layerwise": "running",
    "load": "saving",
    "rewrites": "running",
    "run": "running",
    "save": "saving",
}

# Hidden from type checkers, which would otherwise accept every name.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _HOME:
            found = getattr(import_module(f".{_HOME[name]}", __name__), name)
            globals()[name] = found  # the next access does not come here
            return found
        if name in __all__ or name == "running":
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module 'spikeloom' has no attribute {name!r}{_closest(name)}")


def _closest(name: str) -> str:
    """The end of the error message: the most similar public name, if any."""
    from difflib import get_close_matches

    found = [] if name.startswith("_") else get_close_matches(name, __all__, 1)
    return f"; did you mean {found[0]}?" if found else ""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
