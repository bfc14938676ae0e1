"""Spikeloom: spiking neural networks on PyTorch.

``import spikeloom as snn``. Tensors are time first: ``[T, B, ...]`` for sequences, ``[B, ...]`` for
one step.
"""

from importlib import import_module
from typing import Any

from . import surrogate as surrogate
from .core.dispatch import backend as backend
from .core.dispatch import backends as backends
from .core.dispatch import residual as residual
from .core.lif import LIF as LIF
from .core.neuron import Neuron as Neuron
from .core.tree import detach as detach
from .core.tree import reset as reset
from .core.tree import set_mode as set_mode
from .kernels import backends as _backends  # noqa: F401 (enters the printed loops in the table of backends)
from .layers.batchnorm import BatchNormTT1d as BatchNormTT1d
from .layers.batchnorm import BatchNormTT2d as BatchNormTT2d
from .layers.delay import SynapticDelay as SynapticDelay
from .layers.graded import GradedSpikes as GradedSpikes
from .layers.spiking import SpikeLinear as SpikeLinear
from .neurons.adaptive_threshold_lif import AdaptiveThresholdLIF as AdaptiveThresholdLIF
from .neurons.adlif import AdLIF as AdLIF
from .neurons.alpha import Alpha as Alpha
from .neurons.associative_leaky import AssociativeLeaky as AssociativeLeaky
from .neurons.conductance_lif import AdaptiveConductanceLIF as AdaptiveConductanceLIF
from .neurons.conductance_lif import ConductanceLIF as ConductanceLIF
from .neurons.delta_leaky import DeltaLeaky as DeltaLeaky
from .neurons.integrate_fire import IF as IF
from .neurons.lapicque import Lapicque as Lapicque
from .neurons.leaky import Leaky as Leaky
from .neurons.leaky_integrator import LI as LI
from .neurons.leaky_parallel import LeakyParallel as LeakyParallel
from .neurons.linear_leaky import LinearLeaky as LinearLeaky
from .neurons.refractory_lif import RefractoryLIF as RefractoryLIF
from .neurons.rleaky import RLeaky as RLeaky
from .neurons.rsynaptic import RSynaptic as RSynaptic
from .neurons.scaled_if import ScaledIF as ScaledIF
from .neurons.sconv2dlstm import SConv2dLSTM as SConv2dLSTM
from .neurons.signed_if import SignedIF as SignedIF
from .neurons.slstm import SLSTM as SLSTM
from .neurons.state_leaky import StateLeaky as StateLeaky
from .neurons.synaptic import Synaptic as Synaptic
from .run import layerwise as layerwise
from .run import rewrites as rewrites
from .run import run as run

SpikingNeuron = Neuron
__version__ = "0.1.0"

# what reads files, draws, trains or needs an optional package comes on first use: snn.data,
# snn.spikeplot, snn.fit ...
_LATER: dict[str, tuple[str, str | None]] = {
    **{
        name: (f".{name}", None)
        for name in (
            "backprop",
            "chaos",
            "conversion",
            "data",
            "decode",
            "doctor",
            "export",
            "export_nir",
            "functional",
        )
    },
    **{
        name: (f".{name}", None)
        for name in ("import_nir", "learning", "n3ml", "nir", "spikegen", "spikeplot")
    },
    **{name: (f".{name}", None) for name in ("saving", "spikevision", "train", "utils")},
    "evaluate": (".train", "evaluate"),
    "fit": (".train", "fit"),
    "load": (".saving", "load"),
    "save": (".saving", "save"),
    "gradient_report": (".doctor", "gradient_report"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'spikeloom' has no attribute {name!r}")
    module, attribute = _LATER[name]
    found = import_module(module, __name__)
    return found if attribute is None else getattr(found, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
