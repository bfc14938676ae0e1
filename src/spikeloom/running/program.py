"""A recorded program: layers in order, and the values computed so far.

Operations with equal function, constants, modes and argument layers form one `Layer`; each of
them is one occurrence of it. Layers are created in the order of the program and read only earlier
layers, so that this order is topological. `Values` holds the results, stacked over time if they
were computed that way.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.parameters import version
from .deferred import Deferred, Info

__all__ = ["Layer", "Need", "Output", "Part", "Reference", "Slot", "Values", "referred"]

Need = dict[int, dict[int, set[int]]]  # layer -> output -> occurrences whose values are needed


class Slot(NamedTuple):
    """A place among a layer's arguments for output ``out`` of ``layer``."""

    position: int  # in the tuple of an occurrence
    layer: int
    out: int


class Reference(NamedTuple):
    """One value: output ``out`` of occurrence ``index`` of ``layer``."""

    layer: int
    out: int
    index: int


def referred(value: Any) -> Any:
    """Return the reference to a value that is not computed yet; others unchanged."""
    if type(value) is not Deferred:
        return value
    return Reference(value.layer, value.out, value.index)


class Output:
    """One output of a layer.

    Attributes:
        info: its metadata.
        key: of its placeholders.
        fields: attributes that all its placeholders share.
        recent: numbers of the last two placeholders, which may be used again.
    """

    __slots__ = ("fields", "info", "key", "recent")

    def __init__(self, recorder: Any, layer: int, out: int, info: Info) -> None:
        self.info = info
        self.key = layer << 8 | out
        self.fields = {
            "recorder": recorder,
            "info": info,
            "layer": layer,
            "out": out,
            "key": self.key,
        }
        self.recent = [-1, -1]


class Layer:
    """A function with its constants, and the values that each of its occurrences reads.

    Attributes:
        number: position in the program.
        function: the function that is called; for a neuron its transition.
        kind: see `spikeloom.running.tables`.
        modes: grad mode and autocast at the call.
        args, kwargs: arguments, with a `Slot` in the place of each recorded value.
        slots: the slots, in order.
        reals: tensors that are read, with their versions.
        occurrences: for each call the indices of the values in the slots.
        seen: occurrences by their indices; equal ones are computed once.
        shared: occurrences that stand for several equal calls.
        infos: metadata of the outputs.
        wrap: the tuple type that the function returns; None for one tensor.
        alias: ``"view"`` or ``"self"`` where an output shares memory with the first argument.
        where: file and line of the user at the first call.
        name: path of the module, or file and line, for the plan.
        title: type of the module or name of the function, for the plan.
        size: elements of the first output; 0 for views.
        is_module: ``name`` is the path of a module.
        chain: each occurrence continues from the previous one (a running sum).
        effect: it writes buffers and therefore runs even if none of its values is needed.
        consumed: a later layer has read a value.
        real_views: numbers of the recorded views of the tensor that it is a view of.
        outputs: what their placeholders have in common, see `Output`.
        is_plain: it returns one tensor with memory of its own.
        following: the layer of the operation that came next in the previous step.
        pattern: the expected arguments of the next call.
        names: names of those arguments that are passed by name, the last ones of the pattern.
    """

    def __init__(self, function: Any, kind: str, modes: Any, where: str, name: str = "") -> None:
        self.number = -1
        self.function = function
        self.kind = kind
        self.modes = modes
        self.where = where
        self.name = name or where.rpartition("/")[2]
        self.title = getattr(function, "__name__", type(function).__name__)
        self.is_module = False
        self.size = 0
        self.args: Any = ()
        self.kwargs: dict[str, Any] = {}
        self.slots: list[Slot] = []
        self.reals: list[tuple[Tensor, int]] = []
        self.occurrences: list[tuple[Any, ...]] = []
        self.seen: dict[tuple[Any, ...], int] = {}
        self.shared: set[int] = set()
        self.infos: list[Info] = []
        self.wrap: Any = None
        self.alias: str | None = None
        self.chain = False
        self.effect = False
        self.consumed = False
        self.outputs: list[Output] = []
        self.is_plain = False
        self.following: Layer | None = None
        self.real_views: list[int] | None = None
        self.pattern: list[tuple[Any, Any]] | None = None
        self.names: tuple[str, ...] = ()

    def references(self) -> Iterable[Reference]:
        """Return single values of other layers that the layer reads besides its slots."""
        return ()

    def changed(self) -> bool:
        """Whether a tensor that the layer reads was changed in place since it was recorded."""
        return any(version(v) != seen for v, seen in self.reals)

    def own(self, first: int) -> Iterable[Reference]:
        """Return the layer's own values from which the occurrences from ``first`` on start."""
        return [Reference(self.number, 0, first - 1)] if self.chain and first else ()


class Values:
    """Results of layers, in parts of consecutive occurrences, stacked over time or one by one."""

    def __init__(self) -> None:
        self.parts: dict[tuple[int, int], list[Part]] = {}
        self.done: dict[int, int] = {}  # occurrences of a layer that were computed

    def put(self, layer: Layer, out: int, count: int, steps: list[Any]) -> None:
        """Store ``count`` values one by one."""
        self._enter(layer, out, Part(self.done.get(layer.number, 0), count, None, steps))

    def put_timed(self, layer: Layer, out: int, count: int, stacked: Tensor) -> None:
        """Store ``count`` values as one tensor [T, ...]."""
        self._enter(layer, out, Part(self.done.get(layer.number, 0), count, stacked, None))

    def _enter(self, layer: Layer, out: int, part: "Part") -> None:
        self.parts.setdefault((layer.number, out), []).append(part)

    def given(self, layer: Layer, value: Tensor) -> None:
        """Store the next value of a layer whose results come from outside the program."""
        index = self.done.get(layer.number, 0)
        self.done[layer.number] = index + 1
        parts = self.parts.setdefault((layer.number, 0), [])
        if not parts or parts[-1].first + parts[-1].count != index:
            parts.append(Part(index, 0, None, []))
        parts[-1].append(value)

    def skip(self, layer: Layer, stop: int) -> None:
        """Store None for the occurrences up to ``stop``, which nothing can read any more."""
        count = stop - self.done.get(layer.number, 0)
        for out in range(len(layer.infos)):
            self.put(layer, out, count, [None] * count)
        self.done[layer.number] = stop

    def keep(self, need: Need) -> None:
        """Drop every value that is not in ``need``."""
        for (layer, out), parts in self.parts.items():
            wanted = need.get(layer, {}).get(out, set())
            self.parts[layer, out] = [piece for part in parts for piece in part.only(wanted)]

    def of(self, need: Need) -> "Values":
        """Return a copy with only these values, for a computation that starts after them."""
        found = Values()
        found.done = dict(self.done)
        for layer, outputs in need.items():
            for out, wanted in outputs.items():
                parts = self.parts.get((layer, out), [])
                found.parts[layer, out] = [piece for part in parts for piece in part.only(wanted)]
        return found

    def one(self, layer: int, out: int, index: int) -> Tensor:
        """Return one value."""
        part = self._part(layer, out, index)
        return part.steps()[index - part.first]

    def single(self, layer: int, out: int, index: int) -> Tensor | None:
        """Return one value that was computed separately; None if it is part of a larger tensor."""
        part = self._part(layer, out, index)
        return part.steps()[index - part.first] if part.is_single() else None

    def _part(self, layer: int, out: int, index: int) -> "Part":
        for part in reversed(self.parts[layer, out]):
            if part.first <= index < part.first + part.count:
                return part
        raise AssertionError(f"layer {layer} has no value {out} at {index}")

    def along(self, layer: int, out: int, indices: Sequence[int]) -> tuple[Tensor, bool]:
        """Return the values at these indices, stacked, and False; or a constant and True."""
        first = indices[0]
        number = len(indices)
        if all(index == first for index in indices):
            return self.one(layer, out, first), True
        if list(indices) == list(range(first, first + number)):
            for part in self.parts[layer, out]:
                if part.first <= first and first + number <= part.first + part.count:
                    stacked = part.stacked()
                    start = first - part.first
                    whole = number == part.count
                    return (stacked if whole else stacked[start : start + number]), False
        return torch.stack([self.one(layer, out, index) for index in indices]), False

    def replace(self, layer: int, out: int, index: int, value: Tensor) -> None:
        """Replace one value for later readers."""
        part = self._part(layer, out, index)
        part.replace(index - part.first, value)


class Part:
    """Values of consecutive occurrences.

    Args:
        first: the first occurrence.
        count: number of occurrences.
        timed: the values as one tensor [T, ...]; or None.
        values: the values one by one; or None. An entry None is a value that nothing reads.
    """

    def __init__(
        self, first: int, count: int, timed: Tensor | None, values: list[Any] | None
    ) -> None:
        self.first = first
        self.count = count
        self._timed = timed
        self._values = values

    def is_single(self) -> bool:
        """Whether the values were computed one by one."""
        return self._timed is None

    def steps(self) -> list[Any]:
        if self._values is None:
            assert self._timed is not None
            with (
                torch.enable_grad()
            ):  # later readers may need gradients, even if the first does not
                self._values = list(self._timed.unbind(0))
        return self._values

    def stacked(self) -> Tensor:
        if self._timed is None:
            assert self._values is not None
            with torch.enable_grad():
                self._timed = torch.stack(self._values)
        return self._timed

    def append(self, value: Tensor) -> None:
        """Add a value; for parts that hold their values one by one."""
        self.steps().append(value)
        self.count += 1
        self._timed = None

    def only(self, wanted: set[int]) -> list["Part"]:
        """Return the parts that remain if all other occurrences are dropped."""
        inside = sorted(i for i in wanted if self.first <= i < self.first + self.count)
        if len(inside) == self.count:
            return [self]
        pieces = []
        for index in inside:
            value = self.steps()[index - self.first]
            if self._timed is not None:
                with torch.enable_grad():
                    value = value.clone()  # a view would keep the values of all steps alive
            pieces.append(Part(index, 1, None, [value]))
        return pieces

    def split(self, size: int, number: int) -> list["Part"]:
        """Return the same occurrences for ``number`` parts of at most ``size`` samples each."""
        with torch.enable_grad():
            if self._timed is not None:
                return [Part(self.first, self.count, v, None) for v in self._timed.split(size, 1)]
            assert self._values is not None
            nothing = [None] * number
            steps = zip(
                *(nothing if v is None else v.split(size) for v in self._values), strict=True
            )
            return [Part(self.first, self.count, None, list(values)) for values in steps]

    def replace(self, position: int, value: Tensor) -> None:
        values = list(self.steps())
        values[position] = value
        self._values = values
        self._timed = None
