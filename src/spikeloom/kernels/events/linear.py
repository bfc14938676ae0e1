"""A linear layer for sparse input: each nonzero entry adds a row of the transposed weight.

Forward a row of the output is the sum of those rows of the transposed weight for which the input is
not zero; backward a row of the gradient of the weight is the sum of the gradients of those rows.

The gradient of the input is dense, as surrogate gradients require. The backward pass keeps one bit
for each element of the input, and the input itself only if it has a gradient or graded values.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ...core import checks
from ..layout import materialised
from ..pages import large, reused
from ..threads import sweep
from . import loops

__all__ = ["demand", "density", "linear", "refusal", "refusal_of"]

READS = 4  # of a row of the weight on average; below, copying it costs more than it saves
BLOCK = 4096  # rows of a product at a time: each reads the whole weight
MANY = 8  # parts of the columns; with fewer, each thread would list all entries for few of them
WORDS = 32  # masks of a row whose columns are summed at a time; they limit the memory


class Events(NamedTuple):
    """Which elements of an input [R, K] are not zero."""

    masks: Tensor  # 64 columns of a row in a number, [R, words]
    inputs: int  # K
    x: Tensor | None  # the input, if an element is neither 0 nor 1

    def dense(self, dtype: torch.dtype) -> Tensor:
        """Return the input."""
        if self.x is not None:
            return self.x.to(dtype)
        octets = self.masks.numpy().view(np.uint8)
        bits = np.unpackbits(octets, axis=-1, count=self.inputs, bitorder="little")
        return torch.from_numpy(bits).to(dtype)


def refusal(x: Tensor, weight: Tensor) -> str | None:
    """Return why events cannot compute this product; None if they can."""
    if x.shape[-1:] != weight.shape[1:]:
        return f"the last axis of the input must be {weight.shape[1]}, got {tuple(x.shape)}"
    return refusal_of(x, weight)


def refusal_of(x: Tensor, weight: Tensor) -> str | None:
    """Return why events cannot compute with these tensors; None if they can."""
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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, inside: bool = False) -> Tensor:
    """Return ``x @ weight.T + bias``, computed by events; `refusal` must be None.

    Args:
        x: [..., K]; any values; zeros are skipped. Booleans and small integers are read as they
            are.
        weight: [N, K]; fastest if its transpose is contiguous.
        bias: [N].
        inside: no caller sees the result, so that its memory may be used again.

    Returns:
        [..., N], the dense product up to the order of its sums.

    >>> linear(torch.eye(2), torch.tensor([[1.0, 2.0]]), None)
    tensor([[1.],
            [2.]])
    """
    flat = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    y = cast(Tensor, _Product.apply(flat, weight, bias, inside))
    return y.view(*x.shape[:-1], len(weight))


def density(x: Tensor) -> float:
    """Return the fraction of nonzero elements of ``x`` [..., K], estimated from a few rows.

    >>> density(torch.eye(4))
    0.25
    """
    x = x.detach()
    wanted = max(16, 2**13 // (x.shape[-1] or 1))
    if not x.is_contiguous():  # else `reshape` would copy all of it
        x = x[:: max(1, len(x) // wanted)]
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    sample = rows[:: max(1, len(rows) // wanted)]
    # a third of the time of torch.count_nonzero; the copy is not memory of the user
    fired = np.count_nonzero(sample.to(torch.bool, copy=True).numpy())
    return int(fired) / max(1, sample.numel())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, inside: bool) -> Tensor:
        y, events = product(x, weight, bias, inside=inside)
        ctx.inputs = events.inputs
        ctx.graded = events.x is not None
        read = ctx.needs_input_grad[1]
        # an input that has a gradient is part of the gradient of the weight's gradient
        saved = x if read and (ctx.graded or ctx.needs_input_grad[0]) else None
        ctx.save_for_backward(weight, events.masks if read else None, saved)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        weight, masks, x = ctx.saved_tensors
        grad = grads[0]
        wanted = ctx.needs_input_grad
        dx = grad @ weight if wanted[0] else None
        if not wanted[1]:
            return dx, None, grad.sum(0) if wanted[2] else None, None
        events = Events(masks, ctx.inputs, x if ctx.graded else None)
        if torch.is_grad_enabled():  # gradients of gradients are ordinary operations
            read = events.dense(grad.dtype) if x is None else x.to(grad.dtype)
            return dx, grad.t() @ read, grad.sum(0) if wanted[2] else None, None
        return dx, *gradient(grad, events, weight, biased=wanted[2]), None


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, inside: bool = False
) -> tuple[Tensor, Events]:
    """Return ``x @ weight.T + bias`` for ``x`` [R, K], without gradients, and its events.

    ``inside``: no caller sees the product, so that its memory may be used again.
    """
    x = _flat(x)
    rows, inputs = x.shape
    masks = torch.empty(rows, -(-inputs // 64), dtype=torch.int64)
    events = Events(masks, inputs, x)
    y, graded = _summed(x, events, weight, bias, inside=inside, marked=False)
    return y, events if graded else events._replace(x=None)


def product_of(
    events: Events, weight: Tensor, bias: Tensor | None, *, inside: bool = False
) -> Tensor:
    """Return the product of a weight [N, K] with events that have no graded values."""
    values = events.masks.new_empty(0, dtype=weight.dtype)  # which are not read
    return _summed(values, events, weight, bias, inside=inside, marked=True)[0]


def _summed(
    x: Tensor, events: Events, weight: Tensor, bias: Tensor | None, *, inside: bool, marked: bool
) -> tuple[Tensor, bool]:
    """Return the product, and whether the input is graded; write the masks unless ``marked``."""
    masks, inputs, _ = events
    rows, outputs = len(masks), len(weight)
    table = materialised(weight.detach()).t()
    width = width_of(outputs, table.element_size())
    often = marked or not table.is_contiguous() or rows * density(x) > READS
    packed = outputs > width and often
    table = torch.stack(list(_parts(table, width))) if packed else table.contiguous()
    bias = table.new_zeros(outputs) if bias is None else _flat(bias)
    graded = torch.zeros(1, dtype=torch.uint8)
    shape = rows, outputs
    y = reused(shape, table.dtype) if inside else large(table.new_empty(shape))
    tensors = (x, masks, graded, table, bias, y)
    numbers = (x.numel(), inputs, outputs, packed, marked)

    def work(start: int, stop: int) -> None:
        loops.run("product", width, (x.dtype, y.dtype), tensors, *numbers, start, stop)

    if outputs:
        sweep(work, rows, inputs, BLOCK)
    return y, bool(graded)


def gradient(
    grad: Tensor, events: Events, weight: Tensor, *, biased: bool
) -> tuple[Tensor, Tensor | None]:
    """Return ``grad.T @ x`` in the layout of the weight, and if ``biased`` ``grad.sum(0)``."""
    grad = _flat(grad)
    masks, inputs, x = events
    graded = x is not None
    values = _flat(x) if graded else grad  # which is not read
    rows, outputs = grad.shape
    width = width_of(outputs, grad.element_size())
    parts = -(-outputs // max(1, width))
    as_it_is = parts == 1 and weight.t().is_contiguous()
    shape = parts, inputs, width
    dw = grad.new_empty(shape) if as_it_is else reused(shape, grad.dtype)
    db = grad.new_empty(parts, width)
    tensors = (values, masks, grad, dw, db)
    numbers = (rows, inputs, outputs, graded, biased)
    dtypes = values.dtype, grad.dtype

    def some_inputs(start: int, stop: int) -> None:
        loops.run("gradient", width, dtypes, tensors, *numbers, start, stop, 0, parts)

    def some_outputs(start: int, stop: int) -> None:
        for word in range(0, words, WORDS):
            end = word + WORDS
            loops.run("gradient", width, dtypes, tensors, *numbers, word, end, start, stop)

    words = max(1, masks.shape[1])
    if parts >= MANY:  # threads that divide the inputs would each copy the whole gradient
        sweep(some_outputs, parts, 64 * words * rows / parts, parts)
    elif outputs:
        sweep(some_inputs, words, 64 * rows, WORDS)
    joined = dw[0].t() if as_it_is else torch.empty_like(weight)
    if not as_it_is:
        _join(dw, joined.t())
    return joined, _join(db, db.new_empty(outputs)) if biased else None


def _flat(x: Tensor) -> Tensor:
    return materialised(x.detach()).contiguous()


def _parts(matrix: Tensor, width: int) -> Iterator[Tensor]:
    """Yield views of ``width`` columns of a matrix [..., N]; the last two may overlap."""
    outputs = matrix.shape[-1]
    for start in range(0, outputs, max(1, width)):
        yield matrix.narrow(-1, min(start, outputs - width), width)


def _join(parts: Tensor, matrix: Tensor) -> Tensor:
    """Write parts [P, ..., width] to the matrix [..., N] and return it."""
    for view, part in zip(_parts(matrix, parts.shape[-1]), parts, strict=True):
        view.copy_(part)
    return matrix


def width_of(outputs: int, size: int) -> int:
    """Return how many columns are summed at a time."""
    from ..vectors import width  # loads numba

    return width(outputs, size)
