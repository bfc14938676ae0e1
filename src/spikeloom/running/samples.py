"""Splits the work of a recorded program into parts of the batch.

It applies where every layer treats each sample alone. The values of a few samples then exist at a
time, over all steps, and stay in the cache of the processor. Inputs, initial states and shapes of
the layers are replaced by those of a part while it runs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .deferred import Info
from .execution import Execution
from .over_time import LAYER_NORMS
from .program import Layer, Need, Part, Slot, Values
from .special_layers import StackLayer
from .stateful_layers import NeuronLayer
from .tables import FOLD_AXES

__all__ = ["Batch", "Share", "joined", "shares"]


class Batch(NamedTuple):
    """The samples of a run.

    Args:
        x: input of the run.
        axis: of the samples in ``x``.
        steps: T.
    """

    x: Tensor
    axis: int
    steps: int

    @property
    def size(self) -> int:
        """Return the number of samples."""
        return self.x.shape[self.axis]

    def layers(self, program: Sequence[Layer]) -> set[int] | None:
        """Return the numbers of the layers whose values have one entry for each sample.

        Samples are along the first axis of a value. Stacks over time are left out: they run for
        the whole batch. The result is None if another layer may mix samples, or if none is known to
        read them.
        """
        found: set[int] = set()
        for layer in program:
            if isinstance(layer, StackLayer) and layer.function is torch.stack:
                continue
            read = [slot.layer for slot in layer.slots]
            read += [reference.layer for reference in layer.references()]
            reads = not found.isdisjoint(read) or any(real is self.x for real, _ in layer.reals)
            if layer.kind == "given":
                reads = layer.infos[0].shape[:1] == (self.size,)
                alone = True
            else:
                alone = not layer.effect and not any(type(program[n]) is StackLayer for n in read)
                alone = alone and (not reads or self._is_alone(layer, program, found))
            if not alone:
                return None
            if reads:
                found.add(layer.number)
        return found or None

    def _is_alone(self, layer: Layer, program: Sequence[Layer], found: set[int]) -> bool:
        """Whether a layer that reads samples treats each of them alone."""
        if isinstance(layer, NeuronLayer):
            axes = len(layer.infos[0].shape)
            plain = type(layer) is NeuronLayer and layer.elementwise and not layer.taps
            starts = all(reference.layer in found for reference in layer.references())
            return plain and starts and all(_is_shared(p.shape, axes) for p in layer.params)
        if layer.wrap is not None or layer.chain:
            return False
        if layer.kind == "index":
            index = layer.args[1]
            first = index[0] if type(index) is tuple and len(index) == 1 else index
            return layer.args[0] is self.x and self.axis == 1 and type(first) is int
        operands: list[tuple[torch.Size, bool]] = []
        slots = 0
        for value in (*layer.args, *layer.kwargs.values()):
            if isinstance(value, Slot):
                slots += 1
                shape = program[value.layer].infos[value.out].shape
                operands.append((shape, value.layer in found))
            elif isinstance(value, Tensor):
                operands.append((value.shape, value is self.x))
        if slots != len(layer.slots):  # one is inside of a list
            return False
        return self._of_operands(layer, operands)

    def _of_operands(self, layer: Layer, operands: list[tuple[torch.Size, bool]]) -> bool:
        """Whether a function treats samples alone; for each operand shape and "has samples"."""
        shape = layer.infos[0].shape
        axes = len(shape)
        first = layer.args[0] if layer.args else None
        if shape[:1] != (self.size,) or not isinstance(first, (Slot, Tensor)):
            return False
        linear = layer.function is F.linear
        if layer.kind == "map" and not linear:
            return all(
                len(own) == axes and own[0] == self.size if has else _is_shared(own, axes)
                for own, has in operands
            )
        own, has = operands[0]
        if not has or any(more for _, more in operands[1:]) or own[:1] != (self.size,):
            return False
        if layer.kind == "fold":
            return len(own) > 1 and FOLD_AXES.get(layer.function, 0) in (0, len(own))
        if layer.function in LAYER_NORMS:
            normalised = layer.args[1] if len(layer.args) > 1 else layer.kwargs["normalized_shape"]
            return len(normalised) < len(own)
        return layer.kind == "shape" or (linear and len(own) > 1)


def _is_shared(shape: torch.Size, axes: int) -> bool:
    """Whether a tensor has no entry of its own for each sample of a value with so many axes."""
    return len(shape) < axes or shape[0] == 1


class Share(NamedTuple):
    """What a part of the batch reads.

    Args:
        values: that were computed before.
        reads: which of them.
        changes: attributes of layers that differ from those for the whole batch.
    """

    values: Values
    reads: Need
    changes: list[tuple[Layer, dict[str, Any]]]

    @contextmanager
    def placed(self, execution: Execution) -> Iterator[Values]:
        """Run layers on this part inside the block; gives the values that they compute."""
        before = execution.values
        whole = [(layer, {n: vars(layer)[n] for n in own}) for layer, own in self.changes]
        execution.values = found = self.values.of(self.reads)
        for layer, own in self.changes:
            vars(layer).update(own)
        try:
            yield found
        finally:
            execution.values = before
            for layer, own in whole:
                vars(layer).update(own)


def shares(execution: Execution, chosen: list[Layer], found: set[int], size: int) -> list[Share]:
    """Return what parts of at most ``size`` samples read.

    Args:
        execution: of the program.
        chosen: layers that will run.
        found: layers whose values have samples.
        size: samples of a part.
    """
    batch = execution.batch
    size = max(1, size)  # a batch may be empty
    number = max(1, -(-batch.size // size))
    reads: Need = {}
    for layer in chosen:
        execution.add_needs(layer, reads)
    values = execution.values.of(reads)
    pieces = [Values() for _ in range(number)]
    for piece in pieces:
        piece.done = values.done
    for key, parts in values.parts.items():
        for part in parts:
            split = part.split(size, number) if key[0] in found else [part] * number
            for piece, own in zip(pieces, split, strict=True):
                piece.parts.setdefault(key, []).append(own)
    with torch.enable_grad():
        inputs = batch.x.split(size, batch.axis)
    changes: list[list[tuple[Layer, dict[str, Any]]]] = [[] for _ in range(number)]
    for layer in chosen:
        if layer.number in found:
            for own, change in zip(changes, _changed(layer, batch, inputs, size), strict=True):
                own.append((layer, change))
    return [Share(values, reads, own) for values, own in zip(pieces, changes, strict=True)]


def _changed(
    layer: Layer, batch: Batch, inputs: Sequence[Tensor], size: int
) -> list[dict[str, Any]]:
    """Return for each part of the batch the attributes of a layer that differ."""
    found: list[dict[str, Any]] = []
    for part in inputs:
        samples = part.shape[batch.axis]
        own: dict[str, Any] = {"infos": [_resized(info, samples) for info in layer.infos]}
        args = tuple(part if value is batch.x else value for value in layer.args)
        if layer.kind == "shape":  # its arguments may name the size of the batch
            own |= {"function": torch.reshape, "kwargs": {}}
            args = (args[0], own["infos"][0].shape)
        found.append(own | {"args": args})
    if isinstance(layer, NeuronLayer) and layer.start is not None:
        starts = [v.split(size) if isinstance(v, Tensor) else [v] * len(found) for v in layer.start]
        for own, start in zip(found, zip(*starts, strict=True), strict=True):
            own["start"] = list(start)
    return found


def _resized(info: Info, samples: int) -> Info:
    shape = torch.Size((samples, *info.shape[1:]))
    return Info(shape, info.dtype, info.device, info.stride, info.requires_grad)


def joined(
    execution: Execution, each: list[Values], chosen: list[Layer], need: Need, found: set[int]
) -> None:
    """Store what the parts of a batch have computed as values of the whole batch.

    Args:
        execution: of the program.
        each: values of each part.
        chosen: layers that ran.
        need: values that are read later.
        found: layers whose values have samples.
    """
    values = execution.values
    for layer in chosen:
        done = values.done.get(layer.number, 0)
        for out, wanted in need.get(layer.number, {}).items():
            indices = sorted(index for index in wanted if index >= done)
            key = (layer.number, out)
            parts = values.parts.setdefault(key, [])
            if layer.number in found:
                parts += _whole(each, key, indices)
            else:
                parts += [p for part in each[0].parts[key] for p in part.only(set(indices))]
    for layer in chosen:
        values.done[layer.number] = each[0].done[layer.number]


def _whole(each: list[Values], key: tuple[int, int], indices: list[int]) -> list[Part]:
    """Return values of the whole batch."""
    count = len(indices)
    with torch.enable_grad():
        if count > 1 and indices[-1] - indices[0] + 1 == count:
            stacked = torch.cat([part.along(*key, indices)[0] for part in each], 1)
            return [Part(indices[0], count, stacked, None)]
        parts = []
        for index in indices:
            values = [part.one(*key, index) for part in each]  # None: it ran with its only reader
            whole = None if values[0] is None else torch.cat(values)
            parts.append(Part(index, 1, None, [whole]))
        return parts
