"""The product of a few rows that are mostly zero, where nobody needs their entries afterwards.

One call of machine code lists the entries and sums up: between two calls of Python the weights would push it out of the
caches, which takes as long as many a sum.
"""

import ctypes

import torch
from torch import Tensor

from . import compiled

__all__ = ["product"]

USUAL = 4  # times as many entries as there usually are is where events stop to pay
WORD = 8  # bytes
_TOLD = ctypes.c_int64 * 2


def product(x: Tensor, weight: Tensor, bias: Tensor | None, limit: int) -> tuple[Tensor, int] | None:
    """``x @ weight.T + bias``, and how many elements of ``x`` are not zero.

    Args:
        x: [R, K], contiguous, on the CPU, float32 or float64.
        weight: [N, K]; fast where its transpose is contiguous.
        bias: [N].
        limit: of the elements that are not zero.

    Returns:
        [R, N] and the number; None where there are more than ``limit``, or where they differ.

    >>> product(torch.eye(2), torch.tensor([[1.0, 2.0]]), None, 4)
    (tensor([[1.],
            [2.]]), 2)
    """
    (rows, width), columns = x.shape, weight.shape[0]
    out, table = x.new_empty(rows, columns), weight.detach().t().contiguous()
    constant = x.new_zeros(columns) if bias is None else bias.contiguous()
    shared, byte = (table.data_ptr(), constant.data_ptr()), x.element_size()
    rooms, given, tellers = [], [], []
    for a, b in compiled.parts(rows, limit * columns / USUAL):
        words = b - a + 1  # pointers; then come what is told, the common value, and the indices
        room = torch.empty(words + 4 + (limit + width) // 2, dtype=torch.int64)
        ptr = room.data_ptr()
        told, value, idx = (ptr + WORD * (words + n) for n in (0, 2, 3))
        places = x.data_ptr() + a * width * byte, *shared, out.data_ptr() + a * columns * byte, ptr, idx, value, told
        given.append([*places, width, limit, b - a, columns])
        rooms.append(room)
        tellers.append(_TOLD.from_address(told))  # a slice of the room takes several times as long
    compiled.split(compiled.addressed(x.dtype), given)
    counts, differ = zip(*tellers, strict=True)
    return None if min(counts) < 0 or sum(counts) > limit or any(differ) else (out, sum(counts))
