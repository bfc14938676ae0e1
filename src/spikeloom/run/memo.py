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
        self.identities = _identities(neuron)
        self.plain = not neuron._modules and neuron.carries

    def holds(self, record: Any, neuron: Any, x: Deferred, state: Any) -> bool:
        """Whether a call of the neuron is the next step."""
        if x.key != self.key or not self.plain or len(record.epochs) != self.epochs:
            return False
        if modes.current() is not self.mode or neuron.transition is not self.transition:
            return False
        before = state
        if neuron.init_hidden:
            before = () if state else neuron._hidden
        if not before or len(before) != len(self.layer.outs):
            return False
        if modes.saving_hooks() is not record.execution.hooked:
            return False
        if not self.layer.follows(before) or _identities(neuron) != self.identities:
            return False
        return all(tensor._version == version for tensor, version in self.versions)


def _identities(neuron: Any) -> tuple[int, ...]:
    parameters = neuron._parameters.values()
    buffers = neuron._buffers.values()
    return (*map(id, parameters), *map(id, buffers), len(vars(neuron)), id(neuron._taps))
