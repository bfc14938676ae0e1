"""The operator ``spikeloom::spike_conv``: a two-dimensional convolution whose input is mostly zero.

As in `spikeloom.kernels.events.linear`, the gradient of the input is dense and that of the weight reads the kept
spikes. They are kept, and results laid out, in the memory format of the input.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core import checks
from . import choice, compiled, entries
from .choice import Density, Thresholds
from .entries import Entries
from .geometry import (
    Geometry,
    channels_last,
    format_of,
    geometry_of,
    images_of,
    map_like,
    maps_of,
    patches_of,
    rows_of,
    size_of,
    weight_of,
)
from .linear import CHUNK
from .operator import operator
from .patches import add_maps, add_patches, adds

__all__ = ["conv1d", "conv2d", "is_kept_apart", "spike_conv", "spike_conv_gradients"]

BOUNDS = Thresholds(0.12, 0.16)
NARROW = Thresholds(0.04, 0.06)  # for fewer output channels than FEW, whose patches are too short for the vector units
FEW = 32


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    events: str = "auto",
    density: Density | None = None,
) -> Tensor:
    """``torch.nn.functional.conv2d`` for an input that is mostly zero.

    Args:
        x: spikes, [B, C, H, W]; any values are right, zeros are what is saved.
        weight: [O, C / groups, kh, kw].
        bias: [O].
        stride: one number or two.
        padding: one number or two; a word is left to torch.
        dilation: one number or two.
        groups: of channels.
        events: ``"auto"``: where they pay; ``"always"``; ``"never"``.
        density: what the layer remembers from call to call.

    Returns:
        [B, O, OH, OW], the dense result up to the order of its sums.

    Raises:
        ValueError: ``events`` is another word.
        RuntimeError: ``events="always"`` cannot be obeyed.
        ImportError: ``events="always"`` without numba.

    >>> conv2d(torch.eye(3).view(1, 1, 3, 3), torch.ones(1, 1, 2, 2)).flatten()
    tensor([2., 1., 1., 2.])
    """
    checks.choice("events", events, ("auto", "always", "never"))
    reason = choice.refusal(x, weight)
    if x.dim() != 4 or weight.dim() != 4 or isinstance(padding, str) or x.shape[1] != weight.shape[1] * groups:
        reason = reason or f"it takes [B, C, H, W] and padding in numbers, got {tuple(x.shape)} and {padding!r}"
    choice.demand(events, reason)
    if reason:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    numbers = [*_two(stride), *_two(padding), *_two(dilation), groups]
    density = density or Density()
    rows, work, bounds = rows_of(x), _work(x, weight, numbers), _bounds(weight, groups)
    limit = choice.routed(rows, (weight, bias), work, events, bounds, density)
    if limit == 0:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    if limit is None:
        return spike_conv(x, weight, bias, numbers, events, weight.requires_grad, density.number)[0]
    return _product(x, weight, bias, numbers, limit, density)[0]


def is_kept_apart(x: Tensor, weight: Tensor, numbers: list[int], density: Density) -> bool:
    """Whether `conv2d` would go by events in this input, or keep it as bits, by a look at a few of its rows.

    Args:
        x: [R, C, H, W].
        weight: [O, C / groups, kh, kw].
        numbers: as for `spike_conv`.
        density: what the layer remembers.
    """
    if choice.refusal(x, weight) or x.dim() != 4 or x.shape[1] != weight.shape[1] * numbers[-1]:
        return False
    work, bounds = _work(x, weight, numbers), _bounds(weight, numbers[-1])
    return choice.routed(rows_of(x), (weight,), work, "auto", bounds, density) != 0


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    **options: Any,
) -> Tensor:
    """``torch.nn.functional.conv1d`` for an input [B, C, L] that is mostly zero; see `conv2d`.

    >>> conv1d(torch.eye(3).view(3, 1, 3), torch.tensor([[[1.0, 2.0]]])).squeeze(1)
    tensor([[1., 0.],
            [2., 1.],
            [0., 2.]])
    """
    if isinstance(padding, str) or x.dim() != 3:
        choice.demand(options.get("events", ""), "it takes [B, C, L] and padding in numbers")
        return F.conv1d(x, weight, bias, stride, padding, dilation, groups)
    steps, room, gaps = (1, _two(stride)[1]), (0, _two(padding)[1]), (1, _two(dilation)[1])
    return conv2d(x.unsqueeze(2), weight.unsqueeze(2), bias, steps, room, gaps, groups, **options).squeeze(2)


def _two(value: Any) -> tuple[int, int]:
    pair = (value,) if isinstance(value, int) else tuple(value)
    return pair[0], pair[-1]


def _work(x: Tensor, weight: Tensor, numbers: list[int]) -> int:
    rows, cols = size_of(x, weight, numbers)
    return x.shape[0] * rows * cols * weight.numel()


def _bounds(weight: Tensor, groups: int) -> Thresholds:
    return BOUNDS if len(weight) // groups >= FEW else NARROW


def _product(
    x: Tensor, weight: Tensor, bias: Tensor | None, numbers: list[int], limit: int, density: Density
) -> tuple[Tensor, Entries | None]:
    """The convolution, and the entries of the rows of ``x`` if it went by them."""
    sh, sw, ph, pw, dh, dw, groups = numbers
    rows, sized = rows_of(x), geometry_of(x, weight, numbers)
    possible = min(sized.rows, sized.cols) > 0  # torch says what is wrong with the kernel otherwise
    listed = entries.found(rows, limit) if limit and possible else None
    if limit:
        density.note(rows, len(listed.idx) if listed else None, limit)
    if listed is None:
        return F.conv2d(x, weight, bias, (sh, sw), (ph, pw), (dh, dw), groups), None
    out = map_like(x, sized)
    shared = listed, sized, patches_of(weight, groups).reshape(-1).numpy(), maps_of(out, sized.last)
    start = 0.0 if bias is None else bias.detach().numpy()
    parts = compiled.parts(len(x), adds(listed, sized))
    compiled.split(add_patches, [[*shared, start, a, b] for a, b in parts])
    return out, listed


@operator
def spike_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, numbers: list[int], events: str, keep: bool, number: int
) -> tuple[Tensor, Tensor]:
    """The convolution [R, O, OH, OW] and, if ``keep``, the bytes of its input.

    Args:
        x: [R, C, H, W].
        weight: [O, C / groups, kh, kw].
        bias: [O].
        numbers: stride, padding and dilation, two each, and groups.
        events: ``"auto"``, ``"always"`` or ``"never"``.
        keep: the input, for the gradient of the weight.
        number: of the layer's `Density`.
    """
    density, rows = choice.remembered(number), rows_of(x)
    limit = choice.decided(rows, _work(x, weight, numbers), events, _bounds(weight, numbers[-1]), density)
    out, listed = _product(x, weight, bias, numbers, limit, density)
    kept = entries.keep(rows, listed) if keep else x.new_empty(0, dtype=torch.uint8)
    return out.contiguous(memory_format=format_of(channels_last(x))), kept


@torch.library.register_fake("spikeloom::spike_conv")
def _(
    x: Tensor, weight: Tensor, bias: Any, numbers: list[int], events: str, keep: bool, number: int
) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size() if keep else 0
    return map_like(x, geometry_of(x, weight, numbers)), x.new_empty(size, dtype=torch.uint8)


@operator
def spike_conv_weight(
    grad: Tensor, kept: Tensor, weight: Tensor, shape: list[int], numbers: list[int], last: bool
) -> Tensor:
    """Gradient of the weight from that of the maps [R, O, OH, OW] and the kept input of this ``shape``."""
    told, inputs = entries.read(kept), shape[1] * shape[2] * shape[3]
    if told.as_events:
        return _weight_by_events(grad, told, weight, shape, numbers, last)
    found, step = torch.zeros_like(weight), max(1, CHUNK // inputs)
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        rows = entries.unpacked(told, shape[0], inputs, grad.dtype, start, stop)
        x = images_of(rows, shape, last)
        found += _gradients(grad[start:stop], x, weight, numbers, 1)
    return found


def _gradients(grad: Tensor, x: Tensor, weight: Tensor, numbers: list[int], which: int) -> Tensor:
    """Torch's own gradient of the input (0) or of the weight (1)."""
    mask = [which == 0, which == 1, False]
    stride, padding, dilation, groups = numbers[:2], numbers[2:4], numbers[4:6], numbers[6]
    backward = torch.ops.aten.convolution_backward
    return backward(grad, x, weight, None, stride, padding, dilation, False, [0, 0], groups, mask)[which]


def _weight_by_events(
    grad: Tensor, told: entries.Kept, weight: Tensor, shape: list[int], numbers: list[int], last: bool
) -> Tensor:
    sized = Geometry._make((*shape[1:], *grad.shape[1:], *weight.shape[2:], *numbers, int(last)))
    maps = maps_of(grad.contiguous(memory_format=format_of(last)), sized.last)
    listed = entries.listed(told, shape[0], shape[1] * shape[2] * shape[3], maps.dtype)
    parts = compiled.parts(shape[0], adds(listed, sized))
    sums = grad.new_zeros(len(parts), *patches_of(weight, sized.groups).shape)  # threads must not share a sum
    flat = sums.view(len(parts), -1).numpy()
    compiled.split(add_maps, [[listed, sized, flat[i], maps, *part] for i, part in enumerate(parts)])
    return torch.empty_like(weight).copy_(weight_of(sums.sum(0), sized.groups))


@torch.library.register_fake("spikeloom::spike_conv_weight")
def _(grad: Tensor, kept: Tensor, weight: Tensor, shape: Any, numbers: Any, last: bool) -> Tensor:
    return torch.empty_like(weight)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    x, weight, _, ctx.numbers, _, ctx.keep, _ = inputs
    ctx.shape, ctx.last = list(x.shape), channels_last(x)
    ctx.save_for_backward(weight, output[1])


def _backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
    if grad is None:
        return (None,) * 7
    weight, kept = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:3]
    found = spike_conv_gradients(grad, kept if ctx.keep else None, weight, ctx.shape, ctx.numbers, ctx.last, wanted)
    return *found, None, None, None, None


def spike_conv_gradients(
    grad: Tensor,
    kept: Tensor | None,
    weight: Tensor,
    shape: list[int],
    numbers: list[int],
    last: bool,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias of `spike_conv` where they are ``wanted``, else None.

    Args:
        grad: of the maps, [R, O, OH, OW].
        kept: the bytes of the input.
        weight: [O, C / groups, kh, kw].
        shape: of the input.
        numbers: as for `spike_conv`.
        last: whether channels of the input lie last in memory.
        wanted: three of them.
    """
    dx, dw = None, None
    if wanted[0]:  # it needs no value of the input, only its shape
        dx = _gradients(grad, grad.new_empty(1).expand(shape), weight, numbers, 0)
    if wanted[1] and kept is not None:
        dw = spike_conv_weight(grad, kept, weight.detach(), shape, numbers, last)
    return dx, dw, grad.sum((0, 2, 3)) if wanted[2] else None


torch.library.register_autograd("spikeloom::spike_conv", _backward, setup_context=_setup)
