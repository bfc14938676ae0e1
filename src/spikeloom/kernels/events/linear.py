"""A linear layer for sparse input: each nonzero entry adds a row of the transposed weight.

The sums of rows are torch's `embedding_bag`, in both directions: forward a bag is a row of the
input and the table is the weight; backward a bag is an input neuron and the table is the gradient
of the output.

The gradient of the input is dense, as surrogate gradients require. The backward pass keeps the
input, as the dense layer does, and the list of its nonzero entries.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core import checks
from ..layout import materialised
from ..pages import large
from ..threads import sweep
from . import loops

__all__ = ["demand", "density", "linear", "refusal"]

TABLE = 2**19  # bytes of a table that one call reads: they stay in the cache for all bags
COLUMNS = 64  # least number of columns of a table that is divided
READS = 16  # of a row of a table on average; below, copying columns costs more than it saves
READS_UNCACHED = 4  # the same for a table that no cache holds
CACHED = 2**23  # bytes of a table that the last cache holds
PIECE = 2**22  # bytes of sums at a time: they stay in the cache until they are copied
ROWS = 2048  # rows whose entries are sorted by column, and whose gradients stay in the cache


class Entries(NamedTuple):
    """The nonzero entries of a matrix [R, K].

    Those of row ``r`` are at ``ptr[r]`` to ``ptr[r + 1]`` of ``idx``, which holds their columns in
    ascending order, and of ``values``.
    """

    ptr: Tensor  # int32 [R + 1]; int64 if there are more than 2**31 entries
    idx: Tensor  # of the same type [n]
    values: Tensor | None  # [n]; None: each is 1

    def rows(self, start: int, stop: int) -> "Entries":
        """Return the entries of the rows ``start`` to ``stop``."""
        ptr = self.ptr[start : stop + 1]
        first, last = int(ptr[0]), int(ptr[-1])
        values = None if self.values is None else self.values[first:last]
        return Entries(ptr - first, self.idx[first:last], values)


def refusal(x: Tensor, weight: Tensor) -> str | None:
    """Return why events cannot compute this call; None if they can."""
    if torch.compiler.is_compiling() or checks.watched(x, weight):
        return "operations are recorded or replaced, which sees ordinary ones only"
    if not (x.is_cpu and weight.is_cpu):
        return (
            f"events are computed on the CPU, got an input on {x.device} and a weight on "
            f"{weight.device}"
        )
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on, which computes in 16 bits"
    real = weight.dtype in (torch.float32, torch.float64)
    if not real or x.dtype not in (weight.dtype, *loops.WHOLE):
        return (
            f"events are computed in float32 or float64, got an input of {x.dtype} and a "
            f"weight of {weight.dtype}"
        )
    if checks.transformed() or checks.forward_mode():
        return (
            "a derivative is taken by torch.func or forward mode, which sees ordinary "
            "operations only"
        )
    if x.shape[-1:] != weight.shape[1:]:
        return f"the last axis of the input must be {weight.shape[1]}, got {tuple(x.shape)}"
    return None


def demand(reason: str | None) -> None:
    """Raise if ``events="always"`` is not possible.

    Raises:
        RuntimeError: with the reason.
        ImportError: numba is missing.
    """
    if reason:
        raise RuntimeError(f'events="always" cannot be obeyed: {reason}; write events="auto"')
    checks.require("numba", extra="cpu", purpose='events="always"')


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x @ weight.T + bias``, computed by events; `refusal` must be None.

    Args:
        x: [..., K]; any values; zeros are skipped. Booleans and small integers are read as they
            are.
        weight: [N, K]; fastest if its transpose is contiguous.
        bias: [N].

    Returns:
        [..., N], the dense product up to the order of its sums.

    >>> linear(torch.eye(2), torch.tensor([[1.0, 2.0]]), None)
    tensor([[1.],
            [2.]])
    """
    flat = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    y = cast(Tensor, _Product.apply(flat, weight, bias))
    return y.view(*x.shape[:-1], len(weight))


def density(x: Tensor) -> float:
    """Return the fraction of nonzero elements of ``x`` [..., K], estimated from a few rows.

    >>> density(torch.eye(4))
    0.25
    """
    rows = x.detach().reshape(x.shape[:-1].numel(), x.shape[-1])
    sample = rows[:: max(1, len(rows) // max(16, 2**13 // (x.shape[-1] or 1)))]
    # a third of the time of torch.count_nonzero; the copy is not memory of the user
    fired = np.count_nonzero(sample.to(torch.bool, copy=True).numpy())
    return int(fired) / max(1, sample.numel())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        entries = listed(x, weight.dtype)
        ctx.save_for_backward(x, weight, *(entries if any(ctx.needs_input_grad[1:]) else ()))
        return product(entries, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, *entries = ctx.saved_tensors
        grad = grads[0]
        wanted = ctx.needs_input_grad
        dx = grad @ weight if wanted[0] else None
        if not any(wanted[1:]):
            return dx, None, None
        if torch.is_grad_enabled():  # gradients of gradients are ordinary operations
            return (
                dx,
                grad.t() @ x.to(grad.dtype) if wanted[1] else None,
                grad.sum(0) if wanted[2] else None,
            )
        dw = gradient(grad, Entries(*entries), x.shape[1]) if wanted[1] else None
        return dx, dw, grad.sum(0) if wanted[2] else None


def product(entries: Entries, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x @ weight.T + bias`` for the entries of ``x`` [R, K], without gradients."""
    y = _sums(entries, materialised(weight.detach()).t())
    return y if bias is None else y.add_(bias.detach())


def gradient(grad: Tensor, entries: Entries, width: int) -> Tensor:
    """Return ``grad.T @ x`` for the entries of ``x`` [R, width]; its transpose is contiguous."""
    grad = materialised(grad.detach().contiguous())
    parts = _by_column(entries, width)
    start, part = next(parts)
    total = _sums(part, grad[start : start + ROWS])
    for start, part in parts:
        total += _sums(part, grad[start : start + ROWS])
    return total.t()


def _sums(entries: Entries, table: Tensor) -> Tensor:
    """Return for each row of ``entries`` the sum of the rows of a table that it lists.

    Where rows are read often, copies of a few columns at a time, which stay in the cache. Sums are
    made in pieces, whose memory is used again and again.
    """
    height, columns = table.shape
    size = table.element_size() * height
    width = TABLE // (size or 1) // COLUMNS * COLUMNS or COLUMNS
    reads = READS if size * columns <= CACHED else READS_UNCACHED
    if len(entries.idx) <= reads * height and table.is_contiguous():
        width = max(1, columns)
    rows = len(entries.ptr) - 1
    piece = max(1, PIECE // (table.element_size() * max(1, columns)))
    if rows <= piece and columns <= width:
        return _bags(entries, table.contiguous())
    # torch adds one element at a time if the columns are not contiguous
    tables = [part.contiguous() for part in table.split(width, 1)]
    sums = large(table.new_empty(rows, columns))
    for start in range(0, rows, piece):
        part = entries.rows(start, min(rows, start + piece))
        parts = sums[start : start + piece].split(width, 1)
        for some, copied in zip(parts, tables, strict=True):
            some.copy_(_bags(part, copied))
    return sums


def _bags(entries: Entries, table: Tensor) -> Tensor:
    return F.embedding_bag(
        entries.idx,
        table,
        entries.ptr,
        mode="sum",
        per_sample_weights=entries.values,
        include_last_offset=True,
    )


def listed(x: Tensor, real: torch.dtype) -> Entries:
    """Return the nonzero entries of ``x`` [R, K], their values in the dtype ``real``."""
    x = materialised(x.detach().contiguous())
    rows, width = x.shape
    ptr = torch.zeros(rows + 1, dtype=torch.int64)
    ones = torch.zeros(rows, dtype=torch.int64)
    masks = torch.empty(rows, -(-width // 8), dtype=torch.uint8)

    def count(start: int, stop: int) -> None:
        loops.run("count", (x.dtype, real), (x, ptr, ones, masks), width, start, stop)

    def list_rows(start: int, stop: int) -> None:
        tensors = (x, ptr, idx, values, masks)
        loops.run("list_rows", (x.dtype, real), tensors, width, graded, start, stop)

    sweep(count, rows, width, rows)
    ptr.cumsum_(0)
    size = int(ptr[-1])
    graded = int(ones.sum()) < size
    idx = torch.empty(size, dtype=torch.int32)
    values = torch.empty(size, dtype=real) if graded else None
    sweep(list_rows, rows, width, rows)
    few = size < 2**31
    return Entries(ptr.int() if few else ptr, idx if few else idx.long(), values)


def _by_column(entries: Entries, columns: int) -> Iterator[tuple[int, Entries]]:
    """Yield for each ``ROWS`` rows the first one, and their entries as a transposed matrix.

    Yields at least once.
    """
    kind = torch.float32 if entries.values is None else entries.values.dtype
    rows = len(entries.ptr) - 1
    for start in range(0, max(1, rows), ROWS):
        ptr, idx, values = entries.rows(start, min(rows, start + ROWS))
        ptr, idx = ptr.long(), idx.int()
        place = torch.zeros(columns + 1, dtype=torch.int32)
        torch.cumsum(torch.bincount(idx, minlength=columns), 0, out=place[1:])
        turned = Entries(
            place, torch.empty_like(idx), None if values is None else torch.empty_like(values)
        )
        tensors = (ptr, idx, values, place.clone(), turned.idx, turned.values)
        loops.run("by_column", (kind, kind), tensors, values is not None, len(ptr) - 1)
        yield start, turned
