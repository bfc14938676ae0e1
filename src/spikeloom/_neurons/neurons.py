"""snnTorch's base classes under the name of their module."""

from ..core.lif import LIF as LIF
from ..core.neuron import Neuron as SpikingNeuron

__all__ = ["LIF", "SpikingNeuron"]
