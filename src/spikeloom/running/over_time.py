"""Runs functions of the tables on all steps at once, ``[T, B, ...]``."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .program import Layer, Slot
from .tables import FOLD_AXES

__all__ = [
    "LAYER_NORMS",
    "Argument",
    "filled",
    "indexed",
    "items_of",
    "mapped",
    "of_matrices",
    "on_sequence",
    "run_sum",
    "with_numbers",
]

LAYER_NORMS = (F.layer_norm, torch.layer_norm, F.rms_norm, torch.rms_norm)


class Argument:
    """What a slot reads over time."""

    def __init__(self, value: Tensor, constant: bool) -> None:
        self.value = value
        self.constant = constant
        self.axes = value.dim() - (not constant)  # of one step


def filled(value: Any, fill: Callable[[Slot], Any]) -> Any:
    """Return arguments with values in the place of their slots."""
    kind = type(value)
    if kind is Slot:
        return fill(value)
    if kind is tuple or kind is list:
        return kind(filled(item, fill) for item in value)
    if kind is dict:
        return {name: filled(item, fill) for name, item in value.items()}
    return value


def items_of(index: Any, numbers: Sequence[int]) -> tuple[Any, ...]:
    """Return the items of an index with its integers replaced by these numbers."""
    items = index if isinstance(index, tuple) else (index,)
    following = iter(numbers)
    return tuple(next(following) if type(item) is int else item for item in items)


def with_numbers(index: Any, numbers: Sequence[int]) -> Any:
    items = items_of(index, numbers)
    return items if isinstance(index, tuple) else items[0]


def of_matrices(layer: Layer, found: dict[int, Argument]) -> bool:
    """Whether the factors of a product are matrices at every step: a vector is no batch of them."""
    if layer.kwargs:
        return False
    axes = (
        found[value.position].axes if type(value) is Slot else value.dim() for value in layer.args
    )
    return min(axes) >= 2


def mapped(layer: Layer, found: dict[int, Argument], axes: int, count: int) -> Tensor | None:
    """Run an elementwise function, or a product of matrices, on ``[T, B, ...]``."""

    def spread(slot: Slot) -> Tensor:
        argument = found[slot.position]
        if argument.constant or argument.axes == axes:
            return argument.value
        missing = [1] * (axes - argument.axes)
        return argument.value.reshape(count, *missing, *argument.value.shape[1:])

    result = layer.function(*filled(layer.args, spread), **filled(layer.kwargs, spread))
    return result if result.shape == (count, *layer.infos[0].shape) else None


def on_sequence(
    layer: Layer, x: Tensor, rest: Any, options: dict[str, Any], count: int
) -> Tensor | None:
    """Run a function of one timed argument ``x``, [T, B, ...]; None if that is not possible."""
    function = layer.function
    step = x.dim() - 1
    if function is F.linear:
        return function(x, *rest, **options) if step else None
    if function in LAYER_NORMS:
        shape = rest[0] if rest else options["normalized_shape"]
        return function(x, *rest, **options) if len(shape) <= step else None
    if layer.kind == "shape":
        return x.reshape(count, *layer.infos[0].shape)
    if layer.kind == "axes":
        return _reduced(layer, x, rest, options)
    if layer.kind == "transpose":
        return _transposed(layer, x, rest, options)
    if layer.kind != "fold" or step < 2 or FOLD_AXES.get(function, 0) not in (0, step):
        return None
    return function(x.flatten(0, 1), *rest, **options).unflatten(0, x.shape[:2])


def _transposed(layer: Layer, x: Tensor, rest: Any, options: dict[str, Any]) -> Tensor | None:
    """Exchange axes of a step; the first axis of ``x`` is time."""
    step = x.dim() - 1
    dims = rest[0] if len(rest) == 1 else rest
    if options or not isinstance(dims, (tuple, list)):
        return None
    axes = [dim % step + 1 for dim in dims]
    permutes = layer.function.__name__ == "permute"
    return x.permute(0, *axes) if permutes else x.transpose(*axes)


def _reduced(layer: Layer, x: Tensor, rest: Any, options: dict[str, Any]) -> Tensor | None:
    """Run a function along axes of a step, counted from the end."""
    if len(rest) > 1 or options.keys() - {"dim", "keepdim"}:
        return None
    step = x.dim() - 1
    dim = rest[0] if rest else options.get("dim")
    dims = [dim] if isinstance(dim, int) else list(range(step) if dim is None else dim)
    if not dims or not all(isinstance(axis, int) for axis in dims):
        return None
    dims = [axis if axis < 0 else axis - step for axis in dims]
    keep = {name: value for name, value in options.items() if name == "keepdim"}
    result = layer.function(x, dims[0] if len(dims) == 1 else dims, **keep)
    return result if result.shape[1:] == layer.infos[0].shape else None


def indexed(execution: Any, layer: Layer, occurrences: Sequence[Any]) -> Tensor | None:
    """Return the sequence that the occurrences of ``x[t]`` read step by step."""
    base, index = layer.args
    items = index if isinstance(index, tuple) else (index,)
    rows = [at[len(layer.slots) :] for at in occurrences]
    x = base
    if layer.slots:
        x, constant = execution.along(layer.slots[0], occurrences)
        if not constant:
            if any(row != rows[0] for row in rows):
                return None
            return x[(slice(None), *items_of(index, rows[0]))]
    axes = [axis for axis, item in enumerate(items) if type(item) is int]
    if len(axes) != 1 or any(item != slice(None) for item in items[: axes[0]]):
        return None
    numbers = [row[0] for row in rows]
    if numbers[0] < 0 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    axis = axes[0]
    if len(numbers) < x.shape[axis]:
        x = x.narrow(axis, numbers[0], len(numbers))
    x = x.movedim(axis, 0)
    rest = items[axis + 1 :]
    return x[(slice(None), *items[:axis], *rest)] if rest else x


def run_sum(execution: Any, layer: Layer, span: range, need: dict[int, set[int]] | None) -> str:
    """Run a repeated ``total + y`` as a cumulative sum, or as one sum if only the last is read."""
    values = execution.values
    how = "one cumulative sum"
    first = span.start
    if first == 0:
        args, kwargs = execution.arguments(layer, layer.occurrences[0])
        values.put(layer, 0, 1, [layer.function(*args, **kwargs)])
        values.done[layer.number] = first = 1
    count = span.stop - first
    if not count:
        return how
    before = values.one(layer.number, 0, first - 1)
    y, constant = execution.along(layer.slots[-1], layer.occurrences[first : span.stop])
    last = span.stop - 1
    if y.dtype not in (torch.float32, torch.float64) or constant or count == 1:
        steps = [y] * count if constant else y.unbind(0)
        sums = list(itertools.accumulate(steps, initial=before))[1:]
        values.put(layer, 0, count, sums)
    elif need is not None and need.get(0, set()) <= {last, 0}:
        values.put(layer, 0, count, [None] * (count - 1) + [before + y.sum(0)])
        how = "one sum"
    else:
        values.put_timed(layer, 0, count, before + y.cumsum(0))
    return how
