"""A convolution and the max pooling behind it, a few images at a time.

The output of the convolution, often the largest tensor of a network, never exists as a whole, and
the backward pass keeps the pooled positions in 2 bytes instead of 8.

With the extra ``cpu``, spikes are convolved as events, and gradients are computed from the largest
element of each cell of the pooling, which alone has one, each where it was faster in a timing on
this machine.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ..core import checks
from .pages import large, reused
from .second import differentiable

__all__ = ["Pair", "pooled"]

WANTED = tuple[bool, bool, bool]  # whether input, weight and bias need a gradient


class Pair(NamedTuple):
    """The arguments of a convolution and of the max pooling behind it."""

    conv: tuple[Any, ...]  # stride, padding, dilation, groups
    pool: tuple[Any, ...]  # kernel, stride, padding, dilation, ceil mode
    rows: int  # images at a time

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.conv2d(x, weight, bias, *self.conv)

    def largest(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled convolution, and the number of each element in its image."""
        pooled, positions = torch.ops.aten.max_pool2d_with_indices(y, *self.pool)
        return pooled, positions.to(torch.int16 if y[0, 0].numel() < 2**15 else torch.int32)

    def unpooled(self, grad: Tensor, positions: Tensor, size: Sequence[int]) -> Tensor:
        """Return the gradient of the convolution, [M, *size]."""
        shape, order = (len(grad), *size), torch.channels_last
        like = torch.empty(shape, dtype=grad.dtype, memory_format=order)  # which is not read
        return torch.ops.aten.max_pool2d_with_indices_backward(
            grad, like, *self.pool, positions.long()
        )

    def gradients(
        self, grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, wanted: list[bool]
    ) -> list[Tensor | None]:
        """Return the gradients of input, weight and bias; None where one is not wanted."""
        sizes = None if bias is None else list(bias.shape)
        stride, padding, dilation, groups = self.conv
        found = torch.ops.aten.convolution_backward(
            grad, x, weight, sizes, stride, padding, dilation, False, [0, 0], groups, wanted
        )
        # some of its implementations return the gradient of the weight with that of the bias
        return [f if w else None for f, w in zip(found, wanted, strict=True)]


def pooled(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    pair: Pair,
    *,
    events: bool,
    inside: bool = False,
) -> tuple[Tensor, str]:
    """Return the pooled convolution, channels last, and a remark for the plan.

    Args:
        x: images, [M, C, H, W], channels last.
        weight: [N, C, *kernel].
        bias: [N].
        pair: other arguments.
        events: whether zeros may be skipped.
        inside: no caller sees the result, so that its memory may be used again.
    """
    inputs = (x, weight, bias)
    known = torch.is_grad_enabled()
    wanted = tuple(known and v is not None and v.requires_grad for v in inputs)
    method = _chosen(x, weight, bias, pair, wanted) if events else _Method(pair)
    if any(wanted):
        y: Any = _PooledConvolution.apply(*inputs, method, inside)
    else:
        parts = (method.convolved(part, weight, bias) for part in x.split(pair.rows))
        y = torch.cat([torch.max_pool2d(part, *pair.pool) for part in parts])
    return y, method.remark


class _Method(NamedTuple):
    """How a pooled convolution is computed."""

    pair: Pair
    where: Any = None  # `Windows` of the convolution, if one of the following is set
    events: bool = False  # the convolution, and the gradient of its weight
    winners: bool = False  # the gradients that events do not compute, from the largest elements
    remark: str = ""

    def windows(self, x: Tensor) -> Any:
        """Return the events of images; None if they are not used."""
        if not self.events:
            return None
        from .events.images import windows

        return windows(x, self.where)

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found = self.windows(x)
        if found is None:
            return self.pair.convolved(x, weight, bias)
        from .events.images import convolved

        return convolved(found, weight, bias, self.where.outputs(x), inside=True)

    def gradients(
        self,
        grad: Tensor,
        positions: Tensor,
        size: Sequence[int],
        given: tuple[Tensor, Tensor, Tensor | None],
        dx: Tensor | None,
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        """Return the gradients of weight and bias; None where one is not wanted.

        Args:
            grad: gradient of the pooling.
            positions: of the largest elements.
            size: of the convolution's output, [N, ...].
            given: input, weight and bias.
            dx: receives the gradient of the input; None if it is not wanted.
            wanted: which of the other gradients are.
        """
        x, weight, _ = given
        found: list[Tensor | None] = [None, None]
        if self.winners:
            from .events import images

            if dx is not None:
                images.input_gradient(grad, positions, weight, dx, self.where)
            if wanted[0] and not self.events:
                found[0] = images.weight_gradient(grad, positions, weight, x, self.where)
            if wanted[1]:
                found[1] = grad.sum((0, 2, 3))
            dx = None
        rest = _missing(wanted, found)
        if dx is None and not any(rest):
            return found
        unpooled = self.pair.unpooled(grad, positions, size)
        events = self.windows(x) if rest[0] else None
        if events is not None:
            from .events import images

            dw, db = images.filter_gradient(unpooled, events, weight, biased=rest[1])
            found = [dw, db if rest[1] else found[1]]
            rest = _missing(wanted, found)
        if dx is not None or any(rest):
            dense = self.pair.gradients(unpooled, *given, [dx is not None, *rest])
            if dx is not None:
                dx.copy_(cast(Tensor, dense[0]))
            found = [b if a is None else a for a, b in zip(found, dense[1:], strict=True)]
        return found


def _missing(wanted: Sequence[bool], found: Sequence[Tensor | None]) -> list[bool]:
    return [w and f is None for w, f in zip(wanted, found, strict=True)]


def _chosen(
    x: Tensor, weight: Tensor, bias: Tensor | None, pair: Pair, wanted: Sequence[bool]
) -> _Method:
    """Choose by timing the first images."""
    if not checks.installed("numba"):
        return _Method(pair)
    from .events import choice, images

    where = images.windows_of(weight, *pair.conv)
    if where is None or where.multiply_adds(x, weight) < choice.WORTH:
        return _Method(pair)
    given = (x[: pair.rows].detach(), weight.detach(), None if bias is None else bias.detach())
    events, remark = choice.worth_convolution(*given, where, trained=wanted[1])
    rest = wanted[0], wanted[1] and not events  # which gradients the winners may give

    def gain() -> float:
        y = pair.convolved(*given)
        dx = torch.empty_like(given[0]) if rest[0] else None
        arguments = (*pair.largest(y), y.shape[1:], given, dx, [rest[1], False])
        dense, winners = (_Method(pair, where, events=False, winners=w) for w in (False, True))
        return choice.ratio(
            lambda: dense.gradients(*arguments), lambda: winners.gradients(*arguments)
        )

    winners = any(rest) and choice.paid(f"winners {choice.case(*given, where)} {rest}", gain)
    if winners:
        remark = "; ".join(filter(None, [remark, "gradients from the largest elements"]))
    return _Method(pair, where, events, winners, remark)


def _channels_last(shape: Sequence[int], *, inside: bool) -> Tensor:
    """Return empty images [M, C, H, W]; ``inside`` as in `pooled`."""
    count, channels, height, width = shape
    order = count, height, width, channels
    images = (
        reused(order, torch.float32) if inside else large(torch.empty(order, dtype=torch.float32))
    )
    return images.permute(0, 3, 1, 2)


class _PooledConvolution(torch.autograd.Function):
    """Keeps input and pooled positions."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, method: _Method, inside: bool
    ) -> Tensor:
        output = x.new_empty(0)
        found = []
        rows = method.pair.rows
        for i, part in enumerate(x.split(rows)):
            y = method.convolved(part, weight, bias)
            largest, positions = method.pair.largest(y)
            found.append(positions)
            if not i:
                ctx.size = y.shape[1:]
                shape = (len(x), *largest.shape[1:])
                output = _channels_last(shape, inside=inside)
            output[i * rows :][: len(part)] = largest
        ctx.method = method
        ctx.save_for_backward(x, weight, bias, *found)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, bias, *largest = ctx.saved_tensors
        method: _Method = ctx.method
        pair = method.pair
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # second derivatives are needed
            ordinary = lambda *given: [torch.max_pool2d(pair.convolved(*given), *pair.pool)]  # noqa: E731
            return *differentiable(ordinary, (x, weight, bias), wanted, grads), None, None
        dx = _channels_last(x.shape, inside=True) if wanted[0] else None
        sums: list[Any] = [None, None]
        parts = zip(grads[0].split(pair.rows), largest, x.split(pair.rows), strict=True)
        for i, (grad, positions, part) in enumerate(parts):
            into = None if dx is None else dx[i * pair.rows :][: len(grad)]
            given = (part, weight, bias)
            found = method.gradients(grad, positions, ctx.size, given, into, wanted[1:])
            sums = [f if s is None else s.add_(f) for s, f in zip(sums, found, strict=True)]
        return dx, *sums, None, None
