"""snnTorch's base classes under the name of their module."""

from ..core.neuron import Neuron as SpikingNeuron
from ..neurons.leaky import LIF as LIF

__all__ = ["LIF", "SpikingNeuron"]
