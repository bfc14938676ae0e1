"""Loops over events, as plain functions that numba compiles.

A matrix [R, K] is stored in compressed sparse rows: the nonzero entries of row ``r`` are at
``ptr[r]`` to ``ptr[r + 1]`` of ``idx``, their columns in ascending order, and of ``values``. All
memory is flat.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from ..sources import compiled_function

__all__ = ["add_rows", "by_column", "compiled", "count", "list_rows"]


def count(x, ptr, width, start, stop):
    """Count the entries of rows ``start`` to ``stop``; ``ptr[r + 1]`` receives those of row r."""
    for r in range(start, stop):
        n = 0
        for k in range(width):
            n += x[r * width + k] != 0
        ptr[r + 1] = n


def list_rows(x, ptr, idx, values, width, start, stop):
    """List the entries of the rows ``start`` to ``stop``."""
    for r in range(start, stop):
        p = ptr[r]
        end = ptr[r + 1]
        for k in range(width):
            if p == end:
                break
            value = x[r * width + k]
            idx[p] = k
            values[p] = value
            p += value != 0  # faster than a branch, which spikes make unpredictable


def by_column(ptr, idx, values, place, row, sorted_values, start, stop):
    """List the entries of the rows ``start`` to ``stop`` by column, at ``place`` of each column."""
    for r in range(start, stop):
        for p in range(ptr[r], ptr[r + 1]):
            q = place[idx[p]]
            place[idx[p]] = q + 1
            row[q] = r
            sorted_values[q] = values[p]


def add_rows(ptr, idx, values, table, out, height, last, columns, begin, start, stop):
    """Add ``values * table[idx]`` to rows ``start`` to ``stop`` of ``out``, ``columns`` wide.

    The ``last`` rows of the table are processed ``height`` at a time, so that they stay in the
    cache while all rows of ``out`` use them; ``begin`` is the next position of each row.
    """
    for r in range(start, stop):
        begin[r] = ptr[r]
    for k in range(height, last + height, height):
        for r in range(start, stop):
            p = begin[r]
            end = ptr[r + 1]
            y = r * columns
            while p + 4 <= end and idx[p + 3] < k:
                add_four(
                    out,
                    table,
                    y,
                    idx[p] * columns,
                    idx[p + 1] * columns,
                    idx[p + 2] * columns,
                    idx[p + 3] * columns,
                    values[p],
                    values[p + 1],
                    values[p + 2],
                    values[p + 3],
                    columns,
                )
                p += 4
            while p < end and idx[p] < k:
                add_one(out, table, y, idx[p] * columns, values[p], columns)
                p += 1
            begin[r] = p


def add_four(out, table, y, a, b, c, d, s, t, u, v, columns):
    """Add four rows at once, so that the sum is loaded and stored a quarter as often."""
    for j in range(columns):
        out[y + j] += (s * table[a + j] + t * table[b + j]) + (u * table[c + j] + v * table[d + j])


def add_one(out, table, y, a, s, columns):
    for j in range(columns):
        out[y + j] += s * table[a + j]


_ARGUMENTS = {  # R: real numbers, L: whole numbers of 64 bits, I: of 32 bits; the rest are numbers
    "count": "RL",
    "list_rows": "RLIR",
    "by_column": "LIRLIR",
    "add_rows": "LIRRR",
}
_NUMBERS = {"count": "nnn", "list_rows": "nnn", "by_column": "nn", "add_rows": "nnnLnn"}


@cache
def compiled(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """Compile a loop for ``dtype``; it takes addresses and integers and releases the GIL."""
    from numba import types

    real = types.float32 if dtype == torch.float32 else types.float64
    kinds = {
        "R": types.CPointer(real),
        "L": types.CPointer(types.int64),
        "I": types.CPointer(types.int32),
    }
    signature = tuple(kinds.get(kind, types.int64) for kind in _ARGUMENTS[name] + _NUMBERS[name])
    helpers = [add_four, add_one] if name == "add_rows" else []
    texts = ["@numba.njit(error_model='numpy')\n" + inspect.getsource(helper) for helper in helpers]
    loop: Any = globals()[name]
    return compiled_function(
        "\n".join(["import numba", *texts, inspect.getsource(loop)]), name, signature
    )
