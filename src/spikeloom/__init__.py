"""Spikeloom: spiking neural networks on PyTorch.

``import spikeloom as snn``. Tensors are time first: ``[T, B, ...]`` for sequences, ``[B, ...]`` for one step.
"""

from . import surrogate as surrogate
from .core.dispatch import backend as backend
from .core.dispatch import backends as backends
from .core.neuron import Neuron as Neuron
from .core.tree import detach as detach
from .core.tree import reset as reset
from .core.tree import set_mode as set_mode
from .kernels import scan as _scan
from .neurons.leaky import Leaky as Leaky

SpikingNeuron = Neuron
LIF = Neuron
