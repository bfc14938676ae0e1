"""The operator ``spikeloom::narrow_linear``: a linear layer with few outputs, such as the last one of a classifier.

Over all steps of a batch it has thousands of rows, and with ten outputs BLAS takes about twice as long as reading the
input does. Sums are those of the ordinary layer in another order.
"""

from typing import Any

import torch
from torch import Tensor

from ..core.allocator import in_large_pages
from .events import compiled
from .events.operator import operator

__all__ = ["NARROW", "linear"]

NARROW = 16  # outputs up to which it is faster
ROWS = 128  # of a block, for the gradient of the input: BLAS is good at many small products


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``, for few outputs.

    Args:
        x: [R, K], on the CPU, float32 or float64.
        weight: [N, K].
        bias: [N].

    Returns:
        [R, N].

    >>> linear(torch.eye(2), torch.tensor([[1.0, 2.0]]), None)
    tensor([[1.],
            [2.]])
    """
    return narrow_linear(x.contiguous(), weight, bias)


@operator
def narrow_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product; see `linear`."""
    out = x.new_zeros(len(x), len(weight)) if bias is None else bias.detach().expand(len(x), -1).contiguous()
    arrays = [each.detach().contiguous().numpy() for each in (x, weight)]
    parts = compiled.parts(len(x), x.numel() * len(weight))
    compiled.split(compiled.loop("narrow"), [[*arrays, out.numpy(), start, stop] for start, stop in parts])
    return out


@torch.library.register_fake("spikeloom::narrow_linear")
def _(x: Tensor, weight: Tensor, bias: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@operator
def narrow_linear_weight(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weight, [N, K], from that of the product [R, N] and the input."""
    arrays = [each.detach().contiguous().numpy() for each in (grad, x)]
    parts = compiled.parts(len(x), x.numel() * grad.shape[1])
    found = x.new_zeros(len(parts), grad.shape[1], x.shape[1])  # a sum for each thread
    sums = [[*arrays, each.numpy(), start, stop] for each, (start, stop) in zip(found, parts, strict=True)]
    compiled.split(compiled.loop("narrow_weight"), sums)
    return found[0] if len(parts) == 1 else found.sum(0)


@torch.library.register_fake("spikeloom::narrow_linear_weight")
def _(grad: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(grad.shape[1], x.shape[1])


def _input(grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the input, [R, K], a block of rows at a time."""
    out = in_large_pages(grad.new_empty(len(grad), weight.shape[1]))
    whole = len(grad) // ROWS * ROWS
    if whole:
        blocks = grad[:whole].unflatten(0, (-1, ROWS))
        torch.bmm(blocks, weight.expand(len(blocks), -1, -1), out=out[:whole].unflatten(0, (-1, ROWS)))
    torch.mm(grad[whole:], weight, out=out[whole:])
    return out


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: Any, grad: Tensor | None) -> Any:
    if grad is None:
        return None, None, None
    x, weight = ctx.saved_tensors
    wanted, again = ctx.needs_input_grad, torch.is_grad_enabled()  # again: gradients of gradients are to come
    dx = dw = None
    if wanted[0]:
        dx = grad @ weight if again else _input(grad, weight)
    if wanted[1]:
        dw = grad.t() @ x if again else narrow_linear_weight(grad, x)
    return dx, dw, grad.sum(0) if wanted[2] else None


torch.library.register_autograd("spikeloom::narrow_linear", _backward, setup_context=_setup)
