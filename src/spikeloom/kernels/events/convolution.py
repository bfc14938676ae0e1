"""The operator ``spikeloom::spike_conv``: a two-dimensional convolution whose input is mostly zero.

As in `spikeloom.kernels.events.linear`, the gradient of the input is dense and that of the weight reads the kept spikes.
Spikes are kept, and results laid out, in the memory format of the input.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad as grads

from ...core import checks
from . import choice, compiled, entries
from .choice import Density, Thresholds
from .entries import Entries
from .linear import CHUNK

__all__ = ["conv1d", "conv2d"]

BOUNDS = Thresholds(0.12, 0.16)
NARROW = Thresholds(0.04, 0.06)  # for fewer output channels than FEW, whose patches are too short for the vector units
FEW = 32


class Geometry(NamedTuple):
    """Whole numbers, as the loops read them."""

    channels: int
    height: int
    width: int
    maps: int
    rows: int
    cols: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    dh: int
    dw: int
    groups: int
    last: int  # whether channels lie last in memory


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
    rows, work, bounds = _rows(x), _work(x, weight, numbers), _bounds(weight, groups)
    limit = choice.routed(rows, (weight, bias), work, events, bounds, density)
    if limit == 0:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    if limit is None:
        return spike_conv(x, weight, bias, numbers, events, weight.requires_grad, density.number)[0]
    return _product(x, weight, bias, numbers, limit, density)[0]


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
    flat = [(first, _two(value)[1]) for first, value in ((1, stride), (0, padding), (1, dilation))]
    return conv2d(x.unsqueeze(2), weight.unsqueeze(2), bias, *flat, groups, **options).squeeze(2)


def _two(value: Any) -> tuple[int, int]:
    pair = (value,) if isinstance(value, int) else tuple(value)
    return pair[0], pair[-1]


def _last(x: Tensor) -> bool:
    """Whether channels lie last in memory, and not also first."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _rows(x: Tensor) -> Tensor:
    """One image a row, its pixels in the order of memory."""
    return (x.permute(0, 2, 3, 1) if _last(x) else x.contiguous()).flatten(1)


def _size(x: Tensor, weight: Tensor, numbers: list[int]) -> tuple[int, int]:
    sh, sw, ph, pw, dh, dw, _ = numbers
    rows = (x.shape[2] + 2 * ph - dh * (weight.shape[2] - 1) - 1) // sh + 1
    return rows, (x.shape[3] + 2 * pw - dw * (weight.shape[3] - 1) - 1) // sw + 1


def _geometry(x: Tensor, weight: Tensor, numbers: list[int]) -> Geometry:
    size = _size(x, weight, numbers)
    return Geometry(*x.shape[1:], len(weight), *size, *weight.shape[2:], *numbers, int(_last(x)))


def _work(x: Tensor, weight: Tensor, numbers: list[int]) -> int:
    rows, cols = _size(x, weight, numbers)
    return x.shape[0] * rows * cols * weight.numel()


def _bounds(weight: Tensor, groups: int) -> Thresholds:
    return BOUNDS if len(weight) // groups >= FEW else NARROW


def _patches(weight: Tensor, groups: int) -> Tensor:
    """The weight as the loops read it: [C, kh, reversed kw, O / groups]."""
    maps, per, kh, kw = weight.shape
    split = weight.detach().view(groups, maps // groups, per, kh, kw)
    return split.permute(0, 2, 3, 4, 1).flip(3).reshape(groups * per, kh, kw, maps // groups).contiguous()


def _weight(patches: Tensor, groups: int) -> Tensor:
    """The inverse of `_patches`."""
    channels, kh, kw, maps = patches.shape
    split = patches.view(groups, channels // groups, kh, kw, maps).flip(3)
    return split.permute(0, 4, 1, 2, 3).reshape(groups * maps, channels // groups, kh, kw)


def _product(
    x: Tensor, weight: Tensor, bias: Tensor | None, numbers: list[int], limit: int, density: Density
) -> tuple[Tensor, Entries | None]:
    """The convolution, and the entries of the rows of ``x`` if it went by them."""
    sh, sw, ph, pw, dh, dw, groups = numbers
    rows, sized = _rows(x), _geometry(x, weight, numbers)
    possible = min(sized.rows, sized.cols) > 0  # torch says what is wrong with the kernel otherwise
    listed = entries.found(rows, limit) if limit and possible else None
    if limit:
        density.note(len(listed.idx) if listed else None, limit, x.numel())
    if listed is None:
        return F.conv2d(x, weight, bias, (sh, sw), (ph, pw), (dh, dw), groups), None
    out = _map_like(x, sized)
    patches = _patches(weight, groups).reshape(-1).numpy()
    start = (x.new_zeros(len(weight)) if bias is None else bias.detach().contiguous()).numpy()
    arguments = []
    for a, b in compiled.parts(len(x), _adds(listed, sized)):
        arguments.append([*listed, sized, patches, start, *_views(out, sized.last), *_room(out, sized), a, b])
    compiled.split(compiled.loop("maps"), arguments)
    return out, listed


def _adds(listed: Entries, sized: Geometry) -> int:
    return len(listed.idx) * sized.kh * sized.kw * sized.maps // sized.groups


def _format(last: int) -> torch.memory_format:
    return torch.channels_last if last else torch.contiguous_format


def _map_like(x: Tensor, sized: Geometry) -> Tensor:
    shape = x.shape[0], sized.maps, sized.rows, sized.cols
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_format(sized.last))


def _views(maps: Tensor, last: int) -> tuple[Any, Any]:
    """[R, O, OH * OW], or [R, OH * OW, O] if channels lie last, and [R, O * OH * OW], in the order of memory."""
    memory = (maps.detach().permute(0, 2, 3, 1) if last else maps.detach()).flatten(1)
    shape = (-1, maps.shape[1]) if last else (maps.shape[1], -1)
    return memory.unflatten(1, shape).numpy(), memory.numpy()


def _room(like: Tensor, sized: Geometry) -> tuple[Any, Any]:
    board = like.new_empty(sized.rows * sized.cols, sized.maps)
    return board.view(-1).numpy(), board.numpy()


@torch.library.custom_op("spikeloom::spike_conv", mutates_args=())
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
    density, rows = choice.remembered(number), _rows(x)
    limit = choice.decided(rows, _work(x, weight, numbers), events, _bounds(weight, numbers[-1]), density)
    out, listed = _product(x, weight, bias, numbers, limit, density)
    kept = entries.keep(rows, listed) if keep else x.new_empty(0, dtype=torch.uint8)
    return out.contiguous(memory_format=_format(_last(x))), kept


@spike_conv.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Any, numbers: list[int], events: str, keep: bool, number: int
) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size() if keep else 0
    return _map_like(x, _geometry(x, weight, numbers)), x.new_empty(size, dtype=torch.uint8)


@torch.library.custom_op("spikeloom::spike_conv_weight", mutates_args=())
def spike_conv_weight(
    grad: Tensor, kept: Tensor, weight: Tensor, shape: list[int], numbers: list[int], last: bool
) -> Tensor:
    """Gradient of the weight from that of the maps [R, O, OH, OW] and the kept input of this ``shape``."""
    told, inputs = entries.read(kept), shape[1] * shape[2] * shape[3]
    if told.as_events:
        return _weight_by_events(grad, told, weight, shape, numbers, last)
    found, step = torch.zeros_like(weight), max(1, CHUNK // inputs)
    sh, sw, ph, pw, dh, dw, groups = numbers
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        rows = entries.unpacked(told, shape[0], inputs, grad.dtype, start, stop)
        x = _images(rows, shape, last)
        found += grads.conv2d_weight(x, weight.shape, grad[start:stop], (sh, sw), (ph, pw), (dh, dw), groups)
    return found


def _images(rows: Tensor, shape: list[int], last: bool) -> Tensor:
    _, channels, height, width = shape
    images = rows.view(-1, height, width, channels) if last else rows.view(-1, channels, height, width)
    return images.permute(0, 3, 1, 2) if last else images


def _weight_by_events(
    grad: Tensor, told: entries.Kept, weight: Tensor, shape: list[int], numbers: list[int], last: bool
) -> Tensor:
    sized = Geometry(*shape[1:], *grad.shape[1:], *weight.shape[2:], *numbers, int(last))
    grad = grad.contiguous(memory_format=_format(last))
    views = _views(grad, last)
    listed = entries.listed(told, shape[0], shape[1] * shape[2] * shape[3], views[0].dtype)
    parts = compiled.parts(shape[0], _adds(listed, sized))
    sums = grad.new_zeros(len(parts), *_patches(weight, sized.groups).shape)  # threads must not share a sum
    flat = sums.view(len(parts), -1).numpy()
    arguments = [[*listed, sized, flat[i], *views, *_room(grad, sized), *part] for i, part in enumerate(parts)]
    compiled.split(compiled.loop("kernels"), arguments)
    return torch.empty_like(weight).copy_(_weight(sums.sum(0), sized.groups))


@spike_conv_weight.register_fake
def _(grad: Tensor, kept: Tensor, weight: Tensor, shape: Any, numbers: Any, last: bool) -> Tensor:
    return torch.empty_like(weight)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    x, weight, _, ctx.numbers, _, ctx.keep, _ = inputs
    ctx.shape, ctx.last = list(x.shape), _last(x)
    ctx.save_for_backward(weight, output[1])


def _backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
    if grad is None:
        return (None,) * 7
    weight, kept = ctx.saved_tensors
    sh, sw, ph, pw, dh, dw, groups = ctx.numbers
    wanted, dx, dw_ = ctx.needs_input_grad, None, None
    if wanted[0]:
        dx = grads.conv2d_input(ctx.shape, weight, grad, (sh, sw), (ph, pw), (dh, dw), groups)
    if wanted[1] and ctx.keep:
        dw_ = spike_conv_weight(grad, kept, weight.detach(), ctx.shape, ctx.numbers, ctx.last)
    return dx, dw_, grad.sum((0, 2, 3)) if wanted[2] else None, None, None, None, None


spike_conv.register_autograd(_backward, setup_context=_setup)
