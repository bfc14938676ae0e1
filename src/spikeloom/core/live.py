"""Descriptors of the neuron base class: who is alive, one field of the state, one neuron or all of
a class."""

import weakref
from collections.abc import Iterator
from typing import Any

from torch import Tensor

__all__ = ["Live", "OneOrAll", "StateField"]


class Live:
    """A list-like view of the neurons alive; it keeps none of them alive."""

    def __init__(self) -> None:
        self._refs: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, neuron: Any) -> None:
        self._refs.add(neuron)

    def clear(self) -> None:
        self._refs.clear()

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._refs))

    def __getitem__(self, index: int) -> Any:
        return list(self._refs)[index]


class StateField:
    """``lif.mem`` reads and writes one field of the remembered state; of shape (0,) where there is
    none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, neuron: Any, owner: type | None = None) -> Any:
        return self if neuron is None else getattr(neuron.hidden, self.name)

    def __set__(self, neuron: Any, value: Tensor) -> None:
        neuron._hidden = neuron.hidden._replace(**{self.name: value})
        neuron._foreign = True


class OneOrAll:
    """A method that acts on one neuron, or, called on a class, on all living neurons of that
    class."""

    def __init__(self, method: Any) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, neuron: Any, owner: type) -> Any:
        if neuron is not None:
            return self.method.__get__(neuron, owner)
        return lambda: (
            [self.method(each) for each in owner.live if isinstance(each, owner)] and None
        )
