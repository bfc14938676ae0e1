"""Loops that list events, as plain functions that numba compiles; all memory is flat."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..sources import compiled_function

__all__ = ["WHOLE", "by_column", "count", "list_rows", "run"]

WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16)  # dtypes in which spikes are stored


def count(x, ptr, ones, masks, width, start, stop):
    """Mark the entries of rows ``start`` to ``stop`` in ``masks``, and count them.

    Each byte of ``masks`` holds which of eight elements of a row are not zero. ``ptr[r + 1]``
    receives how many entries row ``r`` has, ``ones[r]`` how many of them are 1.
    """
    size = (width + 7) // 8
    row = np.zeros(8 * size, dtype=np.uint8)
    eights = row.view(np.uint64)
    for r in range(start, stop):
        for k in range(width):  # each loop does one thing: the compiler vectorises it then
            row[k] = x[r * width + k] != 0
        n = np.int32(0)
        for k in range(width):
            n = np.int32(n + row[k])
        m = np.int32(0)
        for k in range(width):
            m = np.int32(m + (x[r * width + k] == 1))
        for i in range(size):  # the product moves the lowest bit of each byte into the highest byte
            masks[r * size + i] = (eights[i] * np.uint64(0x0102040810204080)) >> np.uint64(56)
        ptr[r + 1] = n
        ones[r] = m


def list_rows(x, ptr, idx, values, masks, width, graded, start, stop):
    """List the entries of rows ``start`` to ``stop``; ``values`` is used if they are graded.

    The places of each mask come from a table, without a branch, which spikes make unpredictable.
    """
    places = np.zeros((256, 8), dtype=np.int32)
    number = np.zeros(256, dtype=np.int64)
    for mask in range(256):
        for i in range(8):
            if mask >> i & 1:
                places[mask, number[mask]] = i
                number[mask] += 1
    size = (width + 7) // 8
    row = np.empty(8 * size + 8, dtype=np.int32)
    for r in range(start, stop):
        n = 0
        for i in range(size):
            mask = masks[r * size + i]
            for j in range(4):
                row[n + j] = places[mask, j] + 8 * i
            if number[mask] > 4:  # rare
                for j in range(4, 8):
                    row[n + j] = places[mask, j] + 8 * i
            n += number[mask]
        for p in range(n):
            idx[ptr[r] + p] = row[p]
            if graded:
                values[ptr[r] + p] = x[r * width + row[p]]


def by_column(ptr, idx, values, place, row, sorted_values, graded, rows):
    """Sort the entries of ``rows`` rows by column; ``place`` is where a column begins.

    Afterwards ``place`` is where a column ends.
    """
    for r in range(rows):
        for p in range(ptr[r], ptr[r + 1]):
            q = place[idx[p]]
            place[idx[p]] = q + 1
            row[q] = r
            if graded:
                sorted_values[q] = values[p]


# X: the input's numbers, R: the values', L: whole numbers of 64 bits, I: of 32 bits, M: of 8 bits;
# then how many numbers follow
_ARGUMENTS = {"count": ("XLLM", 3), "list_rows": ("XLIRM", 4), "by_column": ("LIRIIR", 2)}
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
        "M": types.uint8,
    }
    letters, numbers = _ARGUMENTS[name]
    signature = [types.CPointer(kinds[letter]) for letter in letters] + [types.int64] * numbers
    loop: Any = globals()[name]
    return compiled_function(
        f"import numpy as np\n{inspect.getsource(loop)}", name, tuple(signature)
    )
