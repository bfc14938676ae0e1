"""Recognises the next step of a neuron without computing its key."""

from typing import Any

from . import modes
from .deferred import Deferred
from .stateful_layers import StatefulLayer

__all__ = ["Memo"]


class Memo:
    """What must not change if the next call of a neuron is to be one more step of its layer."""

    def __init__(
        self, layer: StatefulLayer, neuron: Any, x: Deferred, mode: Any, epochs: int
    ) -> None:
        self.layer = layer
        self.key = x.key
        self.mode = mode
        self.epochs = epochs
        self.transition = neuron.transition
        self.children = [child for child in neuron._modules.values() if child is not None]
        self.stores = [neuron._parameters, neuron._buffers]
        self.stores += [child._parameters for child in self.children]
        tensors = self._tensors()
        self.held = tensors  # their ids stay theirs
        self.identities = list(map(id, tensors))
        self.versions = [value._version for value in tensors]
        self.attributes = len(vars(neuron))
        self.taps = neuron._taps
        self.plain = neuron.carries and not any(child._modules for child in self.children)

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
        return self.layer.follows(before) and self._unchanged(neuron)

    def _tensors(self) -> list[Any]:
        return [v for store in self.stores for v in store.values() if v is not None]

    def _unchanged(self, neuron: Any) -> bool:
        """Whether parameters and buffers are the same tensors, and not written."""
        if neuron._modules or self.children:
            if len(neuron._modules) != len(self.children):
                return False
            for child, known in zip(neuron._modules.values(), self.children, strict=True):
                if child is not known or child._forward_hooks or child._forward_pre_hooks:
                    return False
        tensors = self._tensors()
        same = list(map(id, tensors)) == self.identities
        return same and [value._version for value in tensors] == self.versions
