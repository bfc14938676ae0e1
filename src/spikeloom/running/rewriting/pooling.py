"""Runs a convolution and the max pooling behind it together, a few images at a time.

It applies where nothing else reads the convolution. Images are channels last: oneDNN convolves
them fastest in that order, and torch pools them three times as fast (`benchmarks/conv.py`). The
output of the convolution, often the largest tensor of a network, never exists as a whole, and the
backward pass keeps the pooled positions in 2 bytes instead of 8. If equal patterns of spikes tie
in the pooling, rounding decides which of them receives the gradient, in either memory order.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core import checks
from ...kernels.pages import large
from ...kernels.second import differentiable
from ..tables import MAX_POOL

__all__ = ["NAME", "applied"]

NAME = "pooling"
LEAST = 2**17  # elements of a convolution's output; below, the order makes no difference
CHUNK = 2**19  # elements of a convolution's output at a time: 2 MiB, which the cache may hold

_POOLING = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_CONVOLUTION = ("weight", "bias", "stride", "padding", "dilation", "groups")


def applied(execution: Any, layer: Any, span: range) -> str:
    if layer.function is not torch.conv2d or layer.wrap is not None or len(layer.slots) > 1:
        return ""
    pool = execution.only_reader(layer)
    if pool is None or pool.function not in MAX_POOL or pool.wrap is not None:
        return ""
    count = len(span)
    info = layer.infos[0]
    size = info.shape.numel() * count
    if info.device.type != "cpu" or info.dtype != torch.float32 or size < LEAST:
        return ""
    pair = _pair_of(layer, pool, info)
    if pair is None or layer.modes[1] or checks.transformed() or checks.forward_mode():
        return ""
    x, weight, bias = _tensors(execution, layer, span)
    timed = x.dim() == 5
    images = _channels_last(x.flatten(0, 1) if timed else x)
    y = _pooled(images, weight, bias, pair)
    values = execution.values
    for runs, out in ((layer, None), (pool, y)):
        if timed and out is not None:
            values.put_timed(runs, 0, count, out.unflatten(0, x.shape[:2]))
        else:
            values.put(runs, 0, count, [out] * count)
    values.done[pool.number] = execution.span(pool).stop
    once = "time folded into the batch" if timed else "once: its input is constant in time"
    execution.note(pool, "with the convolution before it")
    return f"{once}; channels last, with the pooling after it"


def _tensors(execution: Any, layer: Any, span: range) -> tuple[Tensor, Tensor, Tensor | None]:
    args = layer.args
    options = layer.kwargs
    x = args[0]
    if layer.slots:
        x, _ = execution.along(layer.slots[0], layer.occurrences[span.start : span.stop])
    named = dict(zip(_CONVOLUTION, args[1:], strict=False)) | options
    return x, named["weight"], named.get("bias")


class _Pair(NamedTuple):
    """The arguments of a convolution and of the max pooling behind it."""

    conv: tuple[Any, ...]  # stride, padding, dilation, groups
    pool: tuple[Any, ...]  # kernel, stride, padding, dilation, ceil mode
    rows: int  # images at a time

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.conv2d(x, weight, bias, *self.conv)

    def gradients(
        self, grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, wanted: Any
    ) -> Any:
        """Return the gradients of input, weight and bias; None where one is not needed."""
        sizes = None if bias is None else list(bias.shape)
        stride, padding, dilation, groups = self.conv
        return torch.ops.aten.convolution_backward(
            grad, x, weight, sizes, stride, padding, dilation, False, [0, 0], groups, list(wanted)
        )


def _pair_of(conv: Any, pool: Any, info: Any) -> _Pair | None:
    named = dict(zip(_CONVOLUTION, conv.args[1:], strict=False)) | conv.kwargs
    numbers = dict(zip(_POOLING, pool.args[1:], strict=False)) | pool.kwargs
    if numbers.pop("return_indices", False) or numbers.keys() - set(_POOLING):
        return None
    if (
        isinstance(named.get("padding"), str)
        or info.shape[-3:].numel() == 0
        or len(info.shape) != 4
    ):
        return None
    if any(
        type(v) is not torch.nn.Parameter
        for v in (named["weight"], named.get("bias"))
        if v is not None
    ):
        return None
    kernel = numbers["kernel_size"]
    pooling = (
        _two(kernel),
        _two(numbers.get("stride") or kernel),
        _two(numbers.get("padding", 0)),
        _two(numbers.get("dilation", 1)),
        numbers.get("ceil_mode", False),
    )
    convolution = (
        _two(named.get("stride", 1)),
        _two(named.get("padding", 0)),
        _two(named.get("dilation", 1)),
        named.get("groups", 1),
    )
    return _Pair(convolution, pooling, max(1, CHUNK // info.shape[1:].numel()))


def _two(value: Any) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * 2 if len(numbers) == 1 else numbers


def _channels_last(x: Tensor) -> Tensor:
    if x.shape[1] == 1 and x.is_contiguous():  # same memory; torch derives the order from strides
        return x.view(x.shape[0], *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def _pooled(x: Tensor, weight: Tensor, bias: Tensor | None, pair: _Pair) -> Tensor:
    inputs = [v for v in (x, weight, bias) if v is not None]
    if torch.is_grad_enabled() and any(v.requires_grad for v in inputs):
        return _ConvolutionPooling.apply(x, weight, bias, pair)  # pyright: ignore[reportReturnType]
    parts = (pair.convolved(part, weight, bias) for part in x.split(pair.rows))
    return torch.cat([torch.max_pool2d(part, *pair.pool) for part in parts])


class _ConvolutionPooling(torch.autograd.Function):
    """Convolution with max pooling, a few images at a time; keeps input and pooled positions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pair: _Pair) -> Tensor:
        output = x.new_empty(0)
        positions = []
        for i, part in enumerate(x.split(pair.rows)):
            y = pair.convolved(part, weight, bias)
            pooled, position = torch.ops.aten.max_pool2d_with_indices(y, *pair.pool)
            positions.append(position.to(torch.int16 if y[0, 0].numel() < 2**15 else torch.int32))
            if not i:
                ctx.image = y.shape[1:]
                shape = (len(x), *pooled.shape[1:])
                output = large(torch.empty(shape, memory_format=torch.channels_last))
            output[i * pair.rows :][: len(part)] = pooled
        ctx.pair = pair
        ctx.save_for_backward(x, weight, bias, *positions)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, bias, *positions = ctx.saved_tensors
        pair = ctx.pair
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # second derivatives are needed
            pooled = lambda *given: [torch.max_pool2d(pair.convolved(*given), *pair.pool)]  # noqa: E731
            return *differentiable(pooled, (x, weight, bias), wanted, grads), None
        dx = large(torch.empty(x.shape, memory_format=torch.channels_last)) if wanted[0] else None
        sums: list[Any] = [None, None]
        parts = zip(grads[0].split(pair.rows), positions, x.split(pair.rows), strict=True)
        for i, (grad, position, part) in enumerate(parts):
            shape = (len(grad), *ctx.image)
            like = torch.empty(shape, memory_format=torch.channels_last)  # only its shape is used
            unpooled = torch.ops.aten.max_pool2d_with_indices_backward(
                grad, like, *pair.pool, position.long()
            )
            found = pair.gradients(unpooled, part, weight, bias, wanted)
            if dx is not None:
                dx[i * pair.rows :][: len(grad)] = found[0]
            sums = [f if s is None else s.add_(f) for s, f in zip(sums, found[1:], strict=True)]
        return dx, *sums, None
