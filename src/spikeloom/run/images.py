"""Images over time on the CPU: channels-last where that pays, and a convolution with its pooling in chunks.

oneDNN convolves images fastest in the order (height, width, channel), and torch pools them three times faster so
(`benchmarks/conv.py`). The format is chosen at the first convolution that gains by it, kept by what follows, and taken
back before anything that might see it and from what the user gets. A convolution whose only reader is a max-pooling
runs together with it over a few samples at a time: its own output, the largest tensor of such a network, then never
exists as a whole, and the backward pass keeps the pooled positions in 2 bytes instead of 8. Where equal patterns of
spikes tie in the pooling, rounding decides which of them receives the gradient, in this format as in the other.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..core import checks
from ..core.taps import watches
from .pairs import Pairs
from .rules import has_hooks

__all__ = ["Images", "stacked"]

LEAST = 2**17  # values of a convolution's output below which its memory format made no difference, or a worse one
CHUNK = 2**19  # values of a convolution's output at a time: 2 MiB; half of it costs time, twice of it memory


class Images:
    """The memory format of one run.

    Args:
        pairs: of the graph.
        modules: of the network, by path.
    """

    def __init__(self, pairs: Pairs, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.pools = {a: b for a, b in pairs.readers.items() if _pools(modules[a], modules[b])}
        self.converted = False

    def convolved(self, path: str, conv: nn.Module, x: Tensor) -> tuple[Tensor, str] | None:
        """The convolution of all images at once, perhaps pooled, and how it was done; None: nothing to gain.

        Args:
            path: of the layer.
            conv: the layer.
            x: images, [N, C, H, W].
        """
        if type(conv) is not nn.Conv2d or watches(conv) or not _served(conv, x):
            return None
        last, pool = _is_channels_last(x), self.pools.get(path)
        if not last and (conv.groups > 1 or len(x) * _outputs(conv, x) < LEAST):
            return None
        if pool is None and last:
            return None
        if not last:
            self.converted |= conv.weight.is_contiguous()
            x = _channels_last(x)
        if pool is None:
            return conv(x), "channels-last"
        pair = _Pair.of(conv, self.modules[pool], max(1, CHUNK // _outputs(conv, x)))
        return _conv_pool(x, conv, pair), f"channels-last, with {pool!r} in chunks"

    def restored(self, values: Any) -> Any:
        """``values`` as they would be had nobody chosen a format for them."""
        if not self.converted:
            return values
        return pytree.tree_map(lambda v: v.contiguous() if isinstance(v, Tensor) and _step_is_last(v) else v, values)


def stacked(steps: list[Tensor]) -> Tensor:
    """``torch.stack`` that keeps the memory format of the steps."""
    if all(_is_channels_last(step) for step in steps):
        return torch.stack([step.permute(0, 2, 3, 1) for step in steps]).permute(0, 1, 4, 2, 3)
    return torch.stack(steps)


def _pools(conv: nn.Module, pool: nn.Module) -> bool:
    """Whether these are a convolution and a max-pooling that can run together."""
    if type(conv) is not nn.Conv2d or isinstance(conv.padding, str):
        return False
    return type(pool) is nn.MaxPool2d and not (pool.return_indices or has_hooks(pool) or watches(pool))


def _served(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether torch's ordinary float32 convolution on the CPU is what would run."""
    ordinary = x.dim() == 4 and x.device.type == "cpu" and x.dtype == conv.weight.dtype == torch.float32
    watched = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or checks.forward_mode()
    watched = watched or checks.transformed()
    fast = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # pyright: ignore[reportAttributeAccessIssue] (a property set on the module)
    return ordinary and not watched and fast and conv.padding_mode == "zeros"


def _outputs(conv: nn.Conv2d, x: Tensor) -> int:
    """How many values the convolution of one image has, at most."""
    number = conv.out_channels
    for axis in (0, 1):
        around = 2 * conv.padding[axis] if isinstance(conv.padding, tuple) else conv.kernel_size[axis]  # at most "same"
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
        number *= (x.shape[2 + axis] + around - reach) // conv.stride[axis] + 1
    return max(number, 1)


def _is_channels_last(x: Tensor) -> bool:
    """Whether the strides of 4 axes say so; those of a single channel may say either."""
    return x.dim() == 4 and x.stride(1) == 1 and x.is_contiguous(memory_format=torch.channels_last)


def _step_is_last(x: Tensor) -> bool:
    return x.dim() in (4, 5) and len(x) > 0 and _is_channels_last(x[0] if x.dim() == 5 else x)


def _channels_last(x: Tensor) -> Tensor:
    if x.shape[1] == 1 and x.is_contiguous():  # the same memory; torch asks the strides which order it is
        return x.view(x.shape[0], *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


# -- a convolution and its pooling ---------------------------------------------------------------------------


class _Pair(NamedTuple):
    """The numbers of a convolution and of the max-pooling after it."""

    conv: list[int]  # stride, padding, dilation, two each; groups
    pool: tuple[Any, ...]  # kernel, stride, padding, dilation, ceil mode
    rows: int  # images at a time

    @classmethod
    def of(cls, conv: Any, pool: Any, rows: int) -> "_Pair":
        numbers = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        pairs = [[n, n] if isinstance(n, int) else list(n) for n in numbers]
        return cls([*conv.stride, *conv.padding, *conv.dilation, conv.groups], (*pairs, pool.ceil_mode), rows)

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of some images."""
        stride, padding, dilation, groups = self.conv[:2], self.conv[2:4], self.conv[4:6], self.conv[6]
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def pooled(self, y: Tensor) -> Tensor:
        return torch.max_pool2d(y, *self.pool)

    def unpooled(self, grad: Tensor, position: Tensor, image: torch.Size) -> Tensor:
        """The gradient of some of the convolution's outputs, of this size each."""
        like = torch.empty((len(grad), *image), memory_format=torch.channels_last)  # only its shape is read
        return torch.ops.aten.max_pool2d_with_indices_backward(grad, like, *self.pool, position.long())

    def gradients(self, grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, wanted: Any) -> Any:
        """Of input, weight and bias, None where it is not wanted."""
        sizes = None if bias is None else list(bias.shape)
        stride, padding, dilation, groups = self.conv[:2], self.conv[2:4], self.conv[4:6], self.conv[6]
        numbers = (stride, padding, dilation, False, [0, 0], groups)
        return torch.ops.aten.convolution_backward(grad, x, weight, sizes, *numbers, list(wanted))


def _conv_pool(x: Tensor, conv: nn.Conv2d, pair: _Pair) -> Tensor:
    inputs = (x, conv.weight, *([] if conv.bias is None else [conv.bias]))
    if torch.is_grad_enabled() and any(v.requires_grad for v in inputs):
        return _ConvPool.apply(x, conv.weight, conv.bias, pair)
    return torch.cat([pair.pooled(pair.convolved(part, conv.weight, conv.bias)) for part in x.split(pair.rows)])


class _ConvPool(torch.autograd.Function):
    """Max-pooled convolution in chunks of images; keeps its input and the pooled positions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pair: _Pair) -> Tensor:
        output, positions = x.new_empty(0), []
        for i, part in enumerate(x.split(pair.rows)):
            y = pair.convolved(part, weight, bias)
            pooled, position = torch.ops.aten.max_pool2d_with_indices(y, *pair.pool)
            positions.append(position.to(torch.int16 if y[0, 0].numel() < 2**15 else torch.int32))
            if not i:
                ctx.image = y.shape[1:]
                output = torch.empty((len(x), *pooled.shape[1:]), memory_format=torch.channels_last)
            output[i * pair.rows :][: len(part)] = pooled
        ctx.pair = pair
        ctx.save_for_backward(x, weight, bias, *positions)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, bias, *positions = ctx.saved_tensors
        pair, wanted = ctx.pair, ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # gradients of these gradients will be computed
            return *_differentiable(grads[0], (x, weight, bias), pair, wanted), None
        dx = torch.empty(x.shape, memory_format=torch.channels_last) if wanted[0] else None
        sums: list[Any] = [None, None]
        parts = zip(grads[0].split(pair.rows), positions, x.split(pair.rows), strict=True)
        for i, (grad, position, part) in enumerate(parts):
            passed = pair.unpooled(grad, position, ctx.image)
            found = pair.gradients(passed, part, weight, bias, wanted)
            if dx is not None:
                dx[i * pair.rows :][: len(grad)] = found[0]
            sums = [f if s is None else s.add_(f) for s, f in zip(sums, found[1:], strict=True)]
        return dx, *sums, None


def _differentiable(
    grad: Tensor, given: tuple[Tensor, Tensor, Tensor | None], pair: _Pair, wanted: Any
) -> list[Tensor | None]:
    """The gradients as functions of all that they depend on; computes the convolution again."""
    # of views, because one input may itself depend on another
    x, weight, bias = (None if v is None else v.view_as(v) for v in given)
    assert x is not None and weight is not None
    inputs: list[Any] = [v for v, w in zip((x, weight, bias), wanted, strict=True) if w]
    whole = pair.pooled(pair.convolved(x, weight, bias))
    found = iter(torch.autograd.grad(whole, inputs, grad, create_graph=True))
    return [next(found) if w else None for w in wanted]
