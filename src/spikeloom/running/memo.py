"""Recognises the next step of a neuron without computing its key."""

from operator import attrgetter, is_
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
        self.attributes = len(vars(neuron))
        self.taps = neuron._taps
        self.values = self._values(neuron)
        self.tensors = [value for value in self.values if value is not None]
        versions = list(map(version, self.tensors))
        self.version = sum(versions)  # none of them ever decreases
        self.plain = neuron.carries and not any(child._modules for child in self.children)
        self.plain = self.plain and -1 not in versions  # inference tensors count no writes

    def holds(self, record: Any, neuron: Any, x: Deferred, state: Any) -> bool:
        """Whether a call of the neuron is the next step."""
        if x.key != self.key or not self.plain or len(record.epochs) != self.epochs:
            return False
        if modes.current() is not self.mode or neuron.transition is not self.transition:
            return False
        if neuron._taps is not self.taps or len(vars(neuron)) != self.attributes:
            return False
        if neuron.init_hidden:
            state = () if state else neuron._hidden
        return state and self.layer.follows(state) and self._unchanged(neuron)

    def _values(self, neuron: Any) -> list[Any]:
        """Return parameters and buffers of the neuron and of the modules in it."""
        values = [*neuron._parameters.values(), *neuron._buffers.values()]
        for child in self.children:
            values += child._parameters.values()
        return values

    def _unchanged(self, neuron: Any) -> bool:
        """Whether parameters and buffers are the same tensors, and not written."""
        if neuron._modules or self.children:
            if len(neuron._modules) != len(self.children):
                return False
            for child, known in zip(neuron._modules.values(), self.children, strict=True):
                if child is not known or child._forward_hooks or child._forward_pre_hooks:
                    return False
        values = self._values(neuron)
        same = len(values) == len(self.values) and all(map(is_, values, self.values))
        return same and sum(map(_version, self.tensors)) == self.version
