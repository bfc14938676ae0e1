"""The operator ``spikeloom::spike_linear``: a linear layer whose input is mostly zero.

Its gradient with respect to the input is dense, as surrogate gradients need it; that with respect to the weight reads
the kept spikes, as events if the forward pass did. It is opaque to ``torch.compile``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core import checks
from ...core.allocator import in_large_pages
from . import choice, compiled, entries, few, narrow
from .choice import Density, Thresholds
from .entries import Entries
from .operator import operator

__all__ = ["linear"]

BOUNDS = Thresholds(0.2, 0.25)
UNKEPT = Thresholds(0.28, 0.33, small=1.0)  # without gradients, where one call does everything
BLOCK = 2**22  # bytes of the table at a time, so that it stays in the cache while all rows use it
FEW = Thresholds(0.03, 0.04)  # with fewer than NARROW outputs, where listing the entries is most of the work
NARROW = 32
LEAST = 8  # outputs below which the dense product takes no longer than the listing
TURN = 48  # rows whose dense product takes as long as turning a weight that lies as usual
ROWS = 512  # of the result up to which it is faster to keep sums in registers, and to read the table piece by piece
CHUNK = 2**20  # elements that are unpacked at once


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, events: str = "auto", density: Density | None = None
) -> Tensor:
    """``x @ weight.T + bias`` for an input that is mostly zero.

    Args:
        x: spikes, [..., in_features]; any values are right, zeros are what is saved.
        weight: [out_features, in_features].
        bias: [out_features].
        events: ``"auto"``: where they pay; ``"always"``; ``"never"``.
        density: what the layer remembers from call to call.

    Returns:
        [..., out_features], the dense product up to the order of its sums.

    Raises:
        ValueError: ``events`` is another word.
        RuntimeError: ``events="always"`` cannot be obeyed.
        ImportError: ``events="always"`` without numba.

    >>> linear(torch.eye(2), torch.tensor([[1.0, 2.0]]))
    tensor([[1.],
            [2.]])
    """
    checks.choice("events", events, ("auto", "always", "never"))
    reason = choice.refusal(x, weight)
    choice.demand(events, reason)
    if reason or x.shape[-1:] != weight.shape[1:]:  # the ordinary function has the ordinary message
        return F.linear(x, weight, bias)
    density = density or Density()
    whole = x.dim() == 2
    flat = x if whole else x.reshape(-1, x.shape[-1])
    work, bounds = _work(flat, weight, events), _bounds(flat, weight, torch.is_grad_enabled())
    limit = choice.routed(flat, (weight, bias), work, events, bounds, density)
    if limit == 0:
        return _dense(x, weight, bias)
    if limit is None:
        y, _ = spike_linear(flat.contiguous(), weight, bias, events, weight.requires_grad, density.number)
    else:
        y = _unkept(flat.contiguous(), weight, bias, limit, density)
    return y if whole else y.view(*x.shape[:-1], len(weight))


def _work(x: Tensor, weight: Tensor, events: str) -> int:
    """Multiply-adds of the dense product; none where events do not pay at any density."""
    pays = weight.shape[0] >= LEAST and (weight.stride(0) == 1 or x.shape[0] > TURN)
    return x.shape[0] * weight.numel() if pays or events == "always" else 0


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product without events.

    Sizes alone decide who adds up: a resumed training does it in the order of one that was not interrupted.
    """
    few, much = 0 < len(weight) <= narrow.OUTPUTS, x.numel() * len(weight) >= choice.WORTH
    return (narrow.linear if few and much and compiled.available() else F.linear)(x, weight, bias)


def _bounds(x: Tensor, weight: Tensor, kept: bool) -> Thresholds:
    if weight.shape[0] < NARROW:  # the length of a tensor takes several times as long
        return FEW
    bounds = BOUNDS if kept else UNKEPT
    if weight.stride(0) == 1:
        return bounds
    part = max(0.0, 1 - TURN / max(1, x.shape[0]))
    return Thresholds(bounds.begin * part, bounds.stop * part, bounds.small)


def _unkept(x: Tensor, weight: Tensor, bias: Tensor | None, limit: int, density: Density) -> Tensor:
    """The product where nobody needs the entries afterwards."""
    found = few.product(x, weight, bias, limit) if limit and _few(x.shape[0], weight.nbytes) else None
    if found is None:
        return _product(x, weight, bias, limit, density)[0]
    density.note(x, found[1], limit)
    return found[0]


def _few(rows: int, size: int) -> bool:
    """Whether it is faster to keep sums in registers, if the entries share a value, for a table of ``size`` bytes."""
    return rows <= ROWS and size <= BLOCK


def _product(
    x: Tensor, weight: Tensor, bias: Tensor | None, limit: int, density: Density
) -> tuple[Tensor, Entries | None]:
    """The product, and the entries of ``x`` if it went by them."""
    listed = entries.found(x, limit) if limit else None
    if limit:
        density.note(x, len(listed.idx) if listed else None, limit)
    if listed is None:
        return _dense(x, weight, bias), None
    table = weight.detach().t().contiguous().numpy()
    rows = weight.detach().new_zeros(1) if bias is None else bias.detach()
    out = in_large_pages(x.new_empty(len(x), len(weight))).copy_(rows)
    _gather(listed, table, out.numpy())
    return out, listed


def _gather(listed: Entries, table: Any, out: Any) -> None:
    """Add to each row of ``out`` the rows of ``table`` that are listed for it."""
    columns = table.shape[1]
    parts = compiled.parts(len(out), len(listed.idx) * columns)
    if _few(len(out), table.nbytes) and not listed.mask:
        ptr, given = listed.ptr, (listed.idx, listed.values, table.reshape(-1))
        few_rows = [[ptr[a:], *given, out[a:b].reshape(-1), b - a, columns] for a, b in parts]
        compiled.split(compiled.loop("gather_few"), few_rows)
        return
    height = max(1, BLOCK // (table.itemsize * max(1, columns)))
    compiled.split(compiled.loop("gather"), [[*listed, table, out, height, a, b] for a, b in parts])


@operator
def spike_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, events: str, keep: bool, number: int
) -> tuple[Tensor, Tensor]:
    """The product [R, N] and, if ``keep``, the bytes of its input.

    Args:
        x: [R, K].
        weight: [N, K].
        bias: [N].
        events: ``"auto"``, ``"always"`` or ``"never"``.
        keep: the input, for the gradient of the weight.
        number: of the layer's `Density`.
    """
    density = choice.remembered(number)
    limit = choice.decided(x, _work(x, weight, events), events, _bounds(x, weight, True), density)
    y, listed = _product(x.contiguous(), weight, bias, limit, density)
    return y, entries.keep(x.contiguous(), listed) if keep else x.new_empty(0, dtype=torch.uint8)


@torch.library.register_fake("spikeloom::spike_linear")
def _(x: Tensor, weight: Tensor, bias: Any, events: str, keep: bool, number: int) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size() if keep else 0
    return x.new_empty(x.shape[0], weight.shape[0]), x.new_empty(size, dtype=torch.uint8)


@operator
def spike_linear_weight(grad: Tensor, kept: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the weight, laid out as it is, from that of the product [R, N] and the kept input."""
    told, rows, (outputs, inputs) = entries.read(kept), len(grad), weight.shape
    found = torch.zeros_like(weight)
    if told.as_events:
        like = grad.detach().contiguous().numpy()
        turned = found.t() if found.t().is_contiguous() else grad.new_zeros(inputs, outputs)
        _gather(entries.by_column(entries.listed(told, rows, inputs, like.dtype), inputs), like, turned.numpy())
        return found if turned.data_ptr() == found.data_ptr() else found.copy_(turned.t())
    for start in range(0, rows, max(1, CHUNK // inputs)):
        stop = min(start + max(1, CHUNK // inputs), rows)
        x = entries.unpacked(told, rows, inputs, grad.dtype, start, stop)
        found.addmm_(grad[start:stop].t(), x)
    return found


@torch.library.register_fake("spikeloom::spike_linear_weight")
def _(grad: Tensor, kept: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(weight)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    _, weight, _, _, ctx.keep, _ = inputs
    ctx.save_for_backward(weight, output[1])


def _backward(ctx: Any, grad: Tensor | None, _: Any) -> Any:
    if grad is None:
        return (None,) * 6
    weight, kept = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    dx = grad @ weight if wanted[0] else None
    dw = spike_linear_weight(grad, kept, weight.detach()) if wanted[1] and ctx.keep else None
    return dx, dw, grad.sum(0) if wanted[2] else None, None, None, None


torch.library.register_autograd("spikeloom::spike_linear", _backward, setup_context=_setup)
