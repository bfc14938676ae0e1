"""Loops that list events, as plain functions that numba compiles; all memory is flat."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..sources import compiled_function

__all__ = ["WHOLE", "by_column", "count", "list_rows", "run"]

WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16)  # dtypes in which spikes are stored


def count(x, ptr, ones, width, start, stop):
    """Count the entries of rows ``start`` to ``stop``, and those that are 1.

    ``ptr[r + 1]`` receives those of row ``r``.
    """
    for r in range(start, stop):
        n = 0
        m = 0
        for k in range(width):  # a loop for each count: a vector of the processor holds one
            n += x[r * width + k] != 0
        for k in range(width):
            m += x[r * width + k] == 1
        ptr[r + 1] = n
        ones[r] = m


def list_rows(x, ptr, idx, values, width, graded, start, stop):
    """List the entries of the rows ``start`` to ``stop``; ``values`` is used if they are graded."""
    end = ptr[stop]
    for r in range(start, stop):
        p = ptr[r]
        last = ptr[r + 1] == end
        for k in range(width):
            if last and p == end:  # what follows is of other rows, perhaps of another thread
                break
            value = x[r * width + k]
            idx[p] = k
            if graded:
                values[p] = value
            p += value != 0  # faster than a branch, which spikes make unpredictable


def by_column(ptr, idx, values, place, row, sorted_values, first, graded, rows):
    """Sort the entries of ``rows`` rows by column; ``place`` is where a column begins.

    ``ptr`` counts from ``first``. Afterwards ``place`` is where a column ends.
    """
    for r in range(rows):
        for p in range(ptr[r] - first, ptr[r + 1] - first):
            q = place[idx[p]]
            place[idx[p]] = q + 1
            row[q] = r
            if graded:
                sorted_values[q] = values[p]


# X: the input's numbers, R: the values', L: whole numbers of 64 bits, I: of 32 bits; then how many
# numbers follow
_ARGUMENTS = {"count": ("XLL", 3), "list_rows": ("XLIR", 4), "by_column": ("LIRIIR", 3)}
_TYPES = {
    torch.bool: "uint8",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.float32: "float32",
    torch.float64: "float64",
}


def run(
    name: str,
    dtypes: tuple[torch.dtype, torch.dtype],
    tensors: "tuple[Tensor | None, ...]",
    *numbers: int,
) -> None:
    """Run a loop; it releases the GIL.

    Args:
        name: of a function of this module.
        dtypes: of the input and of the values.
        tensors: contiguous; None for one that the loop does not use.
        numbers: the arguments that follow.
    """
    addresses = (0 if tensor is None else tensor.data_ptr() for tensor in tensors)
    _compiled(name, *dtypes)(*addresses, *numbers)


@cache
def _compiled(name: str, given: torch.dtype, real: torch.dtype) -> Callable[..., None]:
    from numba import types

    kinds = {
        "X": getattr(types, _TYPES[given]),
        "R": getattr(types, _TYPES[real]),
        "L": types.int64,
        "I": types.int32,
    }
    letters, numbers = _ARGUMENTS[name]
    signature = [types.CPointer(kinds[letter]) for letter in letters] + [types.int64] * numbers
    loop: Any = globals()[name]
    return compiled_function(inspect.getsource(loop), name, tuple(signature))
