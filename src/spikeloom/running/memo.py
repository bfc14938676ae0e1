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
        own = neuron.__dict__
        self.layer = layer
        self.mode = mode
        self.epochs = epochs
        self.transition = own["transition"]
        self.taps = own.get("_taps")
        self.attributes = len(own)
        self.children = [child for child in neuron._modules.values() if child is not None]
        self.values = self._values(own)
        self.tensors = [value for value in self.values if value is not None]
        self.versions = list(map(version, self.tensors))
        plain = neuron.carries and not any(child._modules for child in self.children)
        plain = plain and -1 not in self.versions  # inference tensors count no writes
        self.key = x.key if plain else None

    def holds(self, record: Any, neuron: Any, x: Deferred, state: Any) -> bool:
        """Whether a call of the neuron is the next step."""
        own = neuron.__dict__  # a module takes much longer to look up an attribute
        if x.key != self.key or modes.current() is not self.mode:
            return False
        if own["transition"] is not self.transition or own.get("_taps") is not self.taps:
            return False
        if len(own) != self.attributes or len(record.epochs) != self.epochs:
            return False
        if neuron.init_hidden:
            state = () if state else own.get("_hidden")
        return bool(state) and self.layer.follows(state) and self._unchanged(own)

    def _values(self, own: dict[str, Any]) -> list[Any]:
        """Return parameters and buffers of the neuron and of the modules in it."""
        values = [*own["_parameters"].values(), *own["_buffers"].values()]
        for child in self.children:
            values += child._parameters.values()
        return values

    def _unchanged(self, own: dict[str, Any]) -> bool:
        """Whether parameters and buffers are the same tensors, and not written."""
        if (own["_modules"] or self.children) and not self._same_children(own["_modules"]):
            return False
        values = self._values(own)
        if len(values) != len(self.values) or not all(map(is_, values, self.values)):
            return False
        return list(map(_version, self.tensors)) == self.versions

    def _same_children(self, modules: dict[str, Any]) -> bool:
        """Whether the modules in the neuron are the same, without hooks."""
        if len(modules) != len(self.children):
            return False
        for child, known in zip(modules.values(), self.children, strict=True):
            if child is not known or child._forward_hooks or child._forward_pre_hooks:
                return False
        return True
