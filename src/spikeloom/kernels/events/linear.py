"""A linear layer for sparse input: each nonzero entry adds a row of the transposed weight.

The gradient of the input is dense, as surrogate gradients require; the gradient of the weight uses
events as well. The backward pass keeps the input, as the dense layer does, and the list of its
nonzero entries.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ...core import checks
from ..layout import materialised
from ..threads import split
from .loops import compiled

__all__ = ["demand", "density", "linear", "refusal"]

BLOCK = 2**20  # bytes of the table at a time: half of a cache, in which it stays for all rows


class Entries(NamedTuple):
    """See `spikeloom.kernels.events.loops`."""

    ptr: Tensor  # int64 [R + 1]
    idx: Tensor  # int32 [n]
    values: Tensor  # [n]


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
    if x.dtype not in (torch.float32, torch.float64) or x.dtype != weight.dtype:
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
        x: [..., K]; any values; zeros are skipped.
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
    sample = rows[:: max(1, len(rows) // 32)]
    return int(sample.count_nonzero()) / max(1, sample.numel())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        entries = _listed(x)
        ctx.save_for_backward(x, weight, *(entries if ctx.needs_input_grad[1] else ()))
        return _product(entries, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, *listed = ctx.saved_tensors
        grad = grads[0]
        wanted = ctx.needs_input_grad
        dx = grad @ weight if wanted[0] else None
        dw = None
        if wanted[1] and torch.is_grad_enabled():  # gradients of gradients are ordinary operations
            dw = grad.t() @ x
        elif wanted[1]:
            dw = _weight_gradient(grad, Entries(*listed), x.shape[1])
        return dx, dw, grad.sum(0) if wanted[2] else None


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias`` for ``x`` [R, K], without gradients."""
    return _product(_listed(x), weight, bias)


def _product(entries: Entries, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = len(entries.ptr) - 1
    out = (
        weight.new_zeros(rows, len(weight))
        if bias is None
        else bias.detach().expand(rows, -1).clone(memory_format=torch.contiguous_format)
    )
    _add(entries, materialised(weight.detach().t().contiguous()), out)
    return out


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """``grad.T @ x`` for ``x`` [R, K], without gradients; its transpose is contiguous."""
    return _weight_gradient(grad, _listed(x), x.shape[1])


def _weight_gradient(grad: Tensor, entries: Entries, width: int) -> Tensor:
    out = grad.new_zeros(width, grad.shape[1])
    _add(_turned(entries, len(grad), width), materialised(grad.detach().contiguous()), out)
    return out.t()


def _listed(x: Tensor) -> Entries:
    x = materialised(x.detach().contiguous())
    rows, width = x.shape
    ptr = torch.zeros(rows + 1, dtype=torch.int64)
    split(compiled("count", x.dtype), (x, ptr), (width,), rows, x.numel())
    torch.cumsum(ptr, 0, out=ptr)
    size = int(ptr[-1])
    entries = Entries(ptr, torch.empty(size, dtype=torch.int32), x.new_empty(size))
    split(compiled("list_rows", x.dtype), (x, *entries), (width,), rows, x.numel())
    return entries


def _turned(entries: Entries, rows: int, width: int) -> Entries:
    """Return the entries of the transposed matrix."""
    ptr = torch.zeros(width + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(entries.idx, minlength=width), 0, out=ptr[1:])
    turned = Entries(ptr, torch.empty_like(entries.idx), torch.empty_like(entries.values))
    # in one thread: the rows share where a column goes on
    split(
        compiled("by_column", entries.values.dtype),
        (*entries, ptr.clone(), *turned[1:]),
        (),
        rows,
        0,
    )
    return turned


def _add(entries: Entries, table: Tensor, out: Tensor) -> None:
    """Add to each row of ``out`` the rows of ``table`` that are listed for it."""
    columns = table.shape[1]
    height = max(1, BLOCK // (table.element_size() * max(1, columns)))
    begin = torch.empty_like(entries.ptr)
    numbers = (height, len(table), columns, begin.data_ptr())
    split(
        compiled("add_rows", table.dtype),
        (*entries, table, out),
        numbers,
        len(out),
        len(entries.idx) * columns,
    )
