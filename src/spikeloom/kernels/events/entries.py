"""What is not zero in a matrix: as a list to compute with, and as bytes to keep for the backward pass.

`Entries` lists the columns of each row. Kept bytes are one uint8 tensor: a header (kind, number of entries, whether
the forward pass used them as events, their common value), and then whichever is smallest of one bit for each element,
indices of two or four bytes, indices with values, and, for what is neither sparse nor of one value, the values.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import compiled

__all__ = ["Entries", "Kept", "by_column", "found", "keep", "listed", "read", "unpacked"]

BITS, SHORT, LONG, VALUES, WHOLE = range(5)
_HEADER = 4  # int64 words


class Entries(NamedTuple):
    """See `spikeloom.kernels.events.loops`."""

    ptr: Any  # int64 [R + 1]
    idx: Any  # int32 [n]
    values: Any  # [n], or [1] if common to all
    mask: int  # -1 or 0


class Kept(NamedTuple):
    """The bytes of `keep`, as arrays that share their memory."""

    kind: int
    count: int
    as_events: bool
    value: float  # common to all entries, where it is
    body: Any  # uint8


def found(x: Tensor, limit: int) -> Entries | None:
    """The entries of ``x`` [R, K], or None if they are more than ``limit``."""
    array, (rows, width) = _array(x), x.shape
    if not array.size:
        return Entries(np.zeros(rows + 1, np.int64), np.empty(0, np.int32), np.ones(1, array.dtype), 0)
    ptr, idx, values = np.empty(rows + 1, np.int64), np.empty(limit + width + 1, np.int32), np.empty(1, array.dtype)
    count, differ = compiled.loop("find")(array.reshape(-1), ptr, idx, values, rows, width, limit)
    if count < 0:
        return None
    idx = idx[:count]
    return Entries(ptr, idx, array.reshape(-1)[_flat(ptr, idx, width)], -1) if differ else Entries(ptr, idx, values, 0)


def by_column(entries: Entries, width: int) -> Entries:
    """The same entries listed by column: those of the transposed matrix."""
    ptr, idx = np.zeros(width + 1, np.int64), np.empty_like(entries.idx)
    values = np.empty_like(entries.values) if entries.mask else entries.values
    compiled.loop("columns")(*entries, ptr, idx, values)
    return Entries(ptr, idx, values, entries.mask)


def _array(x: Tensor) -> Any:
    return x.detach().numpy()


def _flat(ptr: Any, idx: Any, width: int) -> Any:
    return np.repeat(np.arange(len(ptr) - 1), np.diff(ptr)) * width + idx


# -- to keep ---------------------------------------------------------------------------------------------


def keep(x: Tensor, entries: Entries | None) -> Tensor:
    """``x`` [R, K] in as few bytes as it takes; ``entries`` are its own, if known.

    Without them the forward pass was dense, and so will be the backward pass.
    """
    array, (rows, width) = _array(x), x.shape
    if entries is None:
        mask = array != 0
        count = int(np.count_nonzero(mask))
        value = array.reshape(-1)[mask.argmax()] if count else 1.0  # the first that is not zero
        one_value = int(np.count_nonzero(array == value)) == count
    else:
        mask, count, value, one_value = None, len(entries.idx), entries.values[0], not entries.mask
    sizes = _sizes(rows, width, count, array.itemsize)
    kind = min((BITS, SHORT, LONG) if one_value else (VALUES, WHOLE), key=sizes.__getitem__)
    kept, head = _room(sizes[kind])
    head[:3] = kind, count, entries is not None
    head[3:].view(np.float64)[0] = value
    _fill(kept[8 * _HEADER :], kind, array, mask, entries)
    return torch.from_numpy(kept)


def _sizes(rows: int, width: int, count: int, itemsize: int) -> dict[int, float]:
    lists = 8 * (rows + 1)
    short = lists + 2 * count if width <= 2**16 else float("inf")
    values = lists + (4 + itemsize) * count
    bits = rows * -(-width // 8)
    return {BITS: bits, SHORT: short, LONG: lists + 4 * count, VALUES: values, WHOLE: rows * width * itemsize}


def _room(size: float) -> tuple[Any, Any]:
    kept = np.empty(8 * _HEADER + int(size), np.uint8)
    return kept, kept[: 8 * _HEADER].view(np.int64)


def _fill(body: Any, kind: int, array: Any, mask: Any, entries: Entries | None) -> None:
    rows, width = array.shape
    if kind == BITS and not entries:
        body[:] = np.packbits(mask, axis=1, bitorder="little").reshape(-1)
    elif kind == BITS and entries:
        body[:] = 0
        compiled.loop("set_bits")(entries.ptr, entries.idx, body.reshape(rows, -1))
    elif kind == WHOLE:
        body.view(array.dtype)[:] = array.reshape(-1)
    else:
        ptr, idx = (entries.ptr, entries.idx) if entries else _listed(array != 0)
        lists = 8 * (rows + 1)
        body[:lists].view(np.int64)[:] = ptr
        if kind == VALUES:
            stop = lists + len(idx) * array.itemsize
            body[lists:stop].view(array.dtype)[:] = array.reshape(-1)[_flat(ptr, idx, width)]
            lists = stop
        body[lists:].view(np.uint16 if kind == SHORT else np.int32)[:] = idx


def _listed(mask: Any) -> tuple[Any, Any]:
    row, column = np.nonzero(mask)
    return np.searchsorted(row, np.arange(len(mask) + 1)), column.astype(np.int32)


# -- and back --------------------------------------------------------------------------------------------


def read(kept: Tensor) -> Kept:
    """What was kept."""
    array = kept.numpy()
    head = array[: 8 * _HEADER].view(np.int64)
    kind, count, as_events, _ = map(int, head)
    return Kept(kind, count, bool(as_events), float(head[3:].view(np.float64)[0]), array[8 * _HEADER :])


def listed(kept: Kept, rows: int, width: int, dtype: Any) -> Entries:
    """The entries of what was kept of a matrix [rows, width]; ``dtype`` is that of numpy."""
    common = np.full(1, kept.value, dtype)
    if kept.kind == BITS:
        ptr, idx = np.zeros(rows + 1, np.int64), np.empty(kept.count, np.int32)
        compiled.loop("find_bits")(kept.body.reshape(rows, -1), ptr, idx)
        return Entries(ptr, idx, common, 0)
    if kept.kind == WHOLE:
        whole = found(torch.from_numpy(kept.body.view(dtype).reshape(rows, width)), rows * width)
        assert whole is not None  # no limit, no refusal
        return whole
    lists = 8 * (rows + 1)
    ptr, values, mask = kept.body[:lists].view(np.int64), common, 0
    if kept.kind == VALUES:
        stop = lists + kept.count * common.itemsize
        values, mask, lists = kept.body[lists:stop].view(dtype), -1, stop
    idx = kept.body[lists:].view(np.uint16 if kept.kind == SHORT else np.int32)
    return Entries(ptr, idx.astype(np.int32, copy=False), values, mask)


def unpacked(kept: Kept, rows: int, width: int, dtype: torch.dtype, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` of the matrix."""
    if kept.kind == BITS:
        bits = kept.body.reshape(rows, -1)[start:stop]
        dense = torch.from_numpy(np.unpackbits(bits, axis=1, count=width, bitorder="little")).to(dtype)
        return dense if kept.value == 1.0 else dense.mul_(kept.value)
    like = torch.empty(0, dtype=dtype).numpy().dtype
    if kept.kind == WHOLE:
        return torch.from_numpy(kept.body.view(like).reshape(rows, width)[start:stop].copy())
    ptr, idx, values, mask = listed(kept, rows, width, like)
    low, high = ptr[start], ptr[stop]
    dense = np.zeros((stop - start, width), like)
    dense.reshape(-1)[_flat(ptr[start : stop + 1] - low, idx[low:high], width)] = values[low:high] if mask else values
    return torch.from_numpy(dense)
