"""Convolutions of spikes, and gradients of convolutions through a max pooling.

A window of an image is a row of a sparse product; its bits are copied from the bits of the image,
which is not unfolded. Behind a max pooling only one window of each cell has a gradient: only its
lines are read and written. Images are channels last, in which order a line of a window is one piece
of memory.
"""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layout import materialised
from ..second import differentiable
from ..threads import sweep
from . import loops
from .linear import Events, product_of
from .linear import gradient as of_product

__all__ = [
    "Windows",
    "convolution",
    "convolved",
    "filter_gradient",
    "input_gradient",
    "weight_gradient",
    "windows",
    "windows_of",
]


class Windows(NamedTuple):
    """Where the windows of a convolution are; pairs are vertical and horizontal."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def outputs(self, x: Tensor) -> tuple[int, int]:
        """Return the numbers of windows along height and width of images [M, C, H, W]."""
        rows, columns = (
            (n + 2 * p - k) // s + 1
            for n, k, s, p in zip(x.shape[2:], self.kernel, self.stride, self.padding, strict=True)
        )
        return rows, columns

    def multiply_adds(self, x: Tensor, weight: Tensor) -> int:
        """Return the work of the dense convolution."""
        return len(x) * math.prod(self.outputs(x)) * weight.numel()


def windows_of(
    weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int
) -> Windows | None:
    """Return the windows of a convolution; None if they have holes or do not read all channels."""
    if list(dilation) != [1, 1] or groups != 1:
        return None
    height, width = weight.shape[2:]
    return Windows((height, width), tuple(stride), tuple(padding))


def windows(x: Tensor, where: Windows) -> Events | None:
    """Return which elements of each window are not zero; None if an element is neither 0 nor 1.

    Args:
        x: images, [M, C, H, W].
        where: the windows.

    Returns:
        A row for each window; columns are [kernel, C].

    >>> found = windows(torch.eye(3).view(1, 1, 3, 3), Windows((2, 2)))
    >>> found.dense(torch.float32)
    tensor([[1., 0., 0., 1.],
            [0., 0., 1., 0.],
            [0., 1., 0., 0.],
            [1., 0., 0., 1.]])
    """
    images = _last(x)
    rows, columns = where.outputs(x)
    inputs = where.kernel[0] * where.kernel[1] * x.shape[1]
    masks = torch.empty(len(x) * rows * columns, -(-inputs // 64), dtype=torch.int64)
    graded = torch.zeros(1, dtype=torch.uint8)
    numbers = (*images.shape, *where.kernel, *where.stride, *where.padding, rows, columns)
    tensors, dtypes = (images, masks, graded), (x.dtype, torch.float32)

    def work(start: int, stop: int) -> None:
        loops.run("windows", 1, dtypes, tensors, *numbers, start, stop)

    sweep(work, len(x), rows * columns * where.kernel[0])
    return None if graded else Events(masks, inputs, None)


def convolved(
    events: Events,
    weight: Tensor,
    bias: Tensor | None,
    size: tuple[int, int],
    *,
    inside: bool = False,
) -> Tensor:
    """Return a convolution [M, N, *size], channels last, of the windows of spikes.

    ``inside``: no caller sees it, so that its memory may be used again.
    """
    y = product_of(events, _matrix(weight), bias, inside=inside)
    return y.view(-1, *size, len(weight)).permute(0, 3, 1, 2)


def filter_gradient(
    grad: Tensor, events: Events, weight: Tensor, *, biased: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of weight and bias of `convolved`."""
    rows = _last(grad).flatten(0, 2)
    dw, db = of_product(rows, events, _matrix(weight), biased=biased)
    return _as_filters(dw, weight), db


class _Convolution(torch.autograd.Function):
    """A convolution by events; the gradient of its input is dense."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, where: Windows, inside: bool
    ) -> Tensor:
        ctx.where = where
        ctx.save_for_backward(x, weight, bias)
        events = windows(x, where)
        if events is None:
            return torch.conv2d(x, weight, bias, where.stride, where.padding)
        return convolved(events, weight, bias, where.outputs(x), inside=inside)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        given, where = ctx.saved_tensors, ctx.where
        x, weight, bias = given
        wanted = list(ctx.needs_input_grad[:3])
        if torch.is_grad_enabled():  # gradients of gradients are ordinary operations

            def ordinary(x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
                return [torch.conv2d(x, weight, bias, where.stride, where.padding)]

            return *differentiable(ordinary, given, wanted, grads), None, None
        dw, db = None, None
        events = windows(x, where) if wanted[1] else None
        if events is not None:
            dw, db = filter_gradient(grads[0], events, weight, biased=wanted[2])
            wanted[1:] = False, False
        sizes = None if bias is None else list(bias.shape)
        places = where.stride, where.padding, (1, 1)
        found = torch.ops.aten.convolution_backward(
            grads[0], x, weight, sizes, *places, False, (0, 0), 1, wanted
        )
        return (
            found[0],
            dw if found[1] is None else found[1],
            db if found[2] is None else found[2],
            None,
            None,
        )


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, where: Windows, *, inside: bool = False
) -> Tensor:
    """Return the convolution of spikes [M, C, H, W], computed by events, channels last.

    ``inside``: no caller sees it, so that its memory may be used again.

    >>> spikes = torch.eye(3).view(1, 1, 3, 3)
    >>> convolution(spikes, torch.ones(1, 1, 2, 2), None, Windows((2, 2)))
    tensor([[[[2., 1.],
              [1., 2.]]]])
    """
    return cast(Tensor, _Convolution.apply(x, weight, bias, where, inside))


def input_gradient(
    grad: Tensor, positions: Tensor, weight: Tensor, out: Tensor, where: Windows
) -> None:
    """Write the gradient of images through a convolution and its max pooling.

    Args:
        grad: gradient of the pooling, [M, N, ...].
        positions: number of the largest window of each cell, [M, N, ...], of 16 or 32 bits.
        weight: [N, C, *kernel].
        out: receives it, [M, C, H, W].
        where: the windows of the convolution.
    """
    (py, px), (height, width) = where.padding, out.shape[2:]
    order = out.permute(0, 2, 3, 1)
    if py or px or not order.is_contiguous():
        dx = out.new_zeros(len(out), height + 2 * py, width + 2 * px, out.shape[1])
        _from_winners(grad, positions, _last(weight), dx, out, where)
        order.copy_(dx[:, py : py + height, px : px + width])
    else:
        _from_winners(grad, positions, _last(weight), order.zero_(), out, where)


def weight_gradient(
    grad: Tensor, positions: Tensor, weight: Tensor, x: Tensor, where: Windows
) -> Tensor:
    """Return the gradient of the weight; ``x`` has the images, the rest is as above."""
    dw = grad.new_zeros(len(weight), *where.kernel, x.shape[1])
    (py, px), images = where.padding, _last(x)
    padded = F.pad(images, (0, 0, px, px, py, py)) if py or px else images
    _from_winners(grad, positions, padded, dw, x, where, of_images=False)
    return dw.permute(0, 3, 1, 2)


def _from_winners(
    grad: Tensor,
    positions: Tensor,
    other: Tensor,
    out: Tensor,
    x: Tensor,
    where: Windows,
    of_images: bool = True,
) -> None:
    images, channels, *_ = x.shape
    size = [n + 2 * p for n, p in zip(x.shape[2:], where.padding, strict=True)]
    outputs, cells = grad.shape[1], grad.shape[2:].numel()
    line = where.kernel[1] * channels
    tensors = (_last(positions), _last(grad), other, out)
    numbers = (*size, channels, where.kernel[0], *where.stride)
    numbers += (where.outputs(x)[1], outputs, cells, of_images)

    def work(start: int, stop: int) -> None:
        images_and_filters = (start, stop, 0, outputs) if of_images else (0, images, start, stop)
        loops.run(
            "winners", line, (positions.dtype, grad.dtype), tensors, *numbers, *images_and_filters
        )

    count, others = (images, outputs) if of_images else (outputs, images)
    sweep(work, count, others * cells * where.kernel[0] * line / 8)


def _last(x: Tensor) -> Tensor:
    """Return images [M, C, H, W] as [M, H, W, C]."""
    return materialised(x.detach()).permute(0, 2, 3, 1).contiguous()


def _matrix(weight: Tensor) -> Tensor:
    """Return the weight of a convolution as that of the product of windows, [N, kernel * C]."""
    return _last(weight).flatten(1)


def _as_filters(matrix: Tensor, weight: Tensor) -> Tensor:
    outputs, channels, *kernel = weight.shape
    return matrix.view(outputs, *kernel, channels).permute(0, 3, 1, 2)
