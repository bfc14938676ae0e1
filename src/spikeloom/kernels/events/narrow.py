"""The operator ``spikeloom::narrow_linear``: a linear layer with few outputs, such as the last one of a classifier.

Over all steps of a batch it has thousands of rows, and with ten outputs BLAS takes about twice as long as reading the
input does. Sums are those of the ordinary layer in another order.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...core.allocator import in_large_pages
from ..machine_code import machine_code
from . import compiled
from .operator import operator

__all__ = ["OUTPUTS", "linear", "loop"]

OUTPUTS = 16  # outputs up to which it is faster
ROWS = 128  # of a block, for the gradient of the input: BLAS is good at many small products

# four rows at once: the weight, or the sum, is loaded a quarter as often. Sums may be taken in any order: one after the
# other, they would not fill a vector
_HEADER = """
import numba
wide, whole = numba.types.CPointer(numba.types.{real}), numba.int64
options = dict(error_model="numpy", fastmath={{"reassoc", "contract"}}, no_cpython_wrapper=True)

@numba.njit(numba.void(wide, wide, wide, whole, whole, whole, whole), no_cfunc_wrapper=True, **options)
"""
_LOOPS = {
    "product": """
def product(x, weight, out, inputs, outputs, start, stop):
    r = start
    while r + 4 <= stop:
        a, b, c, d = r * inputs, (r + 1) * inputs, (r + 2) * inputs, (r + 3) * inputs
        for n in range(outputs):
            w, o = n * inputs, r * outputs + n
            s, t, u, v = out[o], out[o + outputs], out[o + 2 * outputs], out[o + 3 * outputs]
            for k in range(inputs):
                s += x[a + k] * weight[w + k]
                t += x[b + k] * weight[w + k]
                u += x[c + k] * weight[w + k]
                v += x[d + k] * weight[w + k]
            out[o], out[o + outputs], out[o + 2 * outputs], out[o + 3 * outputs] = s, t, u, v
        r += 4
    while r < stop:
        for n in range(outputs):
            s = out[r * outputs + n]
            for k in range(inputs):
                s += x[r * inputs + k] * weight[n * inputs + k]
            out[r * outputs + n] = s
        r += 1
""",
    "weight": """
def weight(grad, x, out, inputs, outputs, start, stop):
    r = start
    while r + 4 <= stop:
        a, b, c, d = r * inputs, (r + 1) * inputs, (r + 2) * inputs, (r + 3) * inputs
        for n in range(outputs):
            o, g = n * inputs, r * outputs + n
            s, t, u, v = grad[g], grad[g + outputs], grad[g + 2 * outputs], grad[g + 3 * outputs]
            for k in range(inputs):
                out[o + k] += (s * x[a + k] + t * x[b + k]) + (u * x[c + k] + v * x[d + k])
        r += 4
    while r < stop:
        for n in range(outputs):
            s = grad[r * outputs + n]
            for k in range(inputs):
                out[n * inputs + k] += s * x[r * inputs + k]
        r += 1
""",
}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``, for few outputs.

    Args:
        x: [..., K], on the CPU, float32 or float64.
        weight: [N, K].
        bias: [N].

    Returns:
        [..., N].

    >>> linear(torch.eye(2), torch.tensor([[1.0, 2.0]]), None)
    tensor([[1.],
            [2.]])
    """
    y = narrow_linear(x.reshape(-1, x.shape[-1]).contiguous(), weight, bias)
    return y.view(*x.shape[:-1], len(weight))


@operator
def narrow_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product; see `linear`."""
    out = x.new_zeros(len(x), len(weight)) if bias is None else bias.detach().expand(len(x), -1).contiguous()
    x, weight = x.detach().contiguous(), weight.detach().contiguous()
    given = [x.data_ptr(), weight.data_ptr(), out.data_ptr(), *reversed(weight.shape)]
    parts = compiled.parts(len(x), x.numel() * len(weight))
    compiled.split(loop("product", x.dtype), [[*given, start, stop] for start, stop in parts])
    return out


@torch.library.register_fake("spikeloom::narrow_linear")
def _(x: Tensor, weight: Tensor, bias: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@operator
def narrow_linear_weight(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weight, [N, K], from that of the product [R, N] and the input."""
    grad, x = grad.detach().contiguous(), x.detach().contiguous()
    parts = compiled.parts(len(x), x.numel() * grad.shape[1])
    found = x.new_zeros(len(parts), grad.shape[1], x.shape[1])  # a sum for each thread
    given, sizes = [grad.data_ptr(), x.data_ptr()], [x.shape[1], grad.shape[1]]
    sums = [[*given, one.data_ptr(), *sizes, a, b] for one, (a, b) in zip(found, parts, strict=True)]
    compiled.split(loop("weight", x.dtype), sums)
    return found[0] if len(parts) == 1 else found.sum(0)


@cache
def loop(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """``"product"`` or ``"weight"``: adds to its third argument; addresses, inputs, outputs, and rows from and to."""
    source = _HEADER.format(real=str(dtype).removeprefix("torch.")).rstrip() + _LOOPS[name]
    return machine_code(source, name, pointers=3, numbers=4)


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
