"""Recognises the next step of a neuron without computing its key."""

from typing import Any

from . import modes
from .deferred import Deferred
from .stateful_layers import StatefulLayer

__all__ = ["Memo"]


class Memo:
    """What must not change if the next call of a neuron is to be one more step of its layer."""

    def __init__(
        self, layer: StatefulLayer, neuron: Any, x: Deferred, mode: Any, tensors: Any, epochs: int
    ) -> None:
        self.layer = layer
        self.key = x.key
        self.mode = mode
        self.epochs = epochs
        self.transition = neuron.transition
        self.versions = [(tensor, tensor._version) for tensor in tensors]
        self.stores = neuron._parameters, neuron._buffers
        self.attributes = len(vars(neuron))
        self.taps = neuron._taps
        self.plain = not neuron._modules and neuron.carries

    def holds(self, record: Any, neuron: Any, x: Deferred, state: Any) -> bool:
        """Whether a call of the neuron is the next step."""
        if x.key != self.key or not self.plain or len(record.epochs) != self.epochs:
            return False
        if modes.current() is not self.mode or neuron.transition is not self.transition:
            return False
        if neuron._taps is not self.taps or len(vars(neuron)) != self.attributes:
            return False
        before = state
        if neuron.init_hidden:
            before = () if state else neuron._hidden
        if not before or len(before) != len(self.layer.outs):
            return False
        return self.layer.follows(before) and self._unchanged()

    def _unchanged(self) -> bool:
        """Whether parameters and buffers are the same tensors, and not written."""
        number = 0
        for store in self.stores:
            for value in store.values():
                if value is not None:
                    if number == len(self.versions):
                        return False
                    tensor, version = self.versions[number]
                    if value is not tensor or value._version != version:
                        return False
                    number += 1
        return number == len(self.versions)
