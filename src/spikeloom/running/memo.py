"""Recognises the next step of a neuron without computing its key."""

from itertools import chain
from operator import attrgetter
from typing import Any

from ..core.parameters import version
from . import modes
from .deferred import Deferred
from .stateful_layers import StatefulLayer

__all__ = ["Memo"]

_version = attrgetter("_version")


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
        stores = [neuron._parameters, neuron._buffers]
        stores += [child._parameters for child in self.children]
        self.stores = stores
        self.identities = self._identities()
        self.tensors = [v for store in stores for v in store.values() if v is not None]
        self.versions = list(map(version, self.tensors))
        self.attributes = len(vars(neuron))
        self.taps = neuron._taps
        self.plain = neuron.carries and not any(child._modules for child in self.children)
        self.plain = self.plain and -1 not in self.versions  # inference tensors count no writes

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

    def _identities(self) -> list[int]:
        return list(map(id, chain.from_iterable(map(dict.values, self.stores))))

    def _unchanged(self, neuron: Any) -> bool:
        """Whether parameters and buffers are the same tensors, and not written."""
        if neuron._modules or self.children:
            if len(neuron._modules) != len(self.children):
                return False
            for child, known in zip(neuron._modules.values(), self.children, strict=True):
                if child is not known or child._forward_hooks or child._forward_pre_hooks:
                    return False
        same = self._identities() == self.identities
        return same and list(map(_version, self.tensors)) == self.versions
