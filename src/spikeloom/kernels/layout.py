"""Memory order: kernels read neurons as a flat array, in the memory order of a step.

Any dense order is used without a copy, including channels-last; a tensor in another order than the
other tensors of a call is copied.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .pages import large, reused

__all__ = ["is_dense", "materialised", "ordered", "spaced", "stacked"]


def stacked(
    step: Tensor, n: int, dtype: torch.dtype | None = None, *, inside: bool = False
) -> Tensor:
    """Return an empty [n, *step.shape] whose steps have the memory order of ``step``.

    Args:
        step: tensor of one step.
        n: number of steps.
        dtype: default: that of ``step``.
        inside: the tensor passes between layers only, so that its memory may be used again.
    """
    like = torch.empty_like(step)
    options = {"dtype": dtype or step.dtype, "device": step.device}
    strides = (step.numel(), *like.stride())
    if inside and step.is_cpu:
        flat = reused((n * step.numel(),), options["dtype"])
        return flat.as_strided((n, *step.shape), strides)
    return large(torch.empty_strided((n, *step.shape), strides, **options))


def materialised(tensor: Tensor) -> Tensor:
    """Return ``tensor``, or a copy if its memory does not hold its values (negative bit, zeros)."""
    if tensor.is_neg():
        return tensor.resolve_neg()
    return tensor.clone() if tensor._is_zerotensor() else tensor


def ordered(tensor: Tensor, step: Tensor) -> Tensor:
    """Return ``tensor``, a step or [n, *step.shape], in the memory order of ``step``.

    Copies only if needed.
    """
    tensor = materialised(tensor)
    if tensor.is_contiguous() and step.is_contiguous():  # the usual case, at a tenth of the cost
        return tensor
    leading = tensor.dim() - step.dim()
    strides = (step.numel(),) * leading + _strides(step)
    if _same(tensor.shape, tensor.stride(), strides):
        return tensor
    made = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
    return made.copy_(tensor)


def spaced(tensor: Tensor, step: Tensor) -> Tensor:
    """As `ordered` for [n, *step.shape], but steps may have gaps between them or share memory."""
    tensor = materialised(tensor)
    if tensor.is_contiguous() and step.is_contiguous():
        return tensor
    if _same(step.shape, tensor.stride()[1:], _strides(step)):
        return tensor
    return ordered(tensor, step)


def _strides(step: Tensor) -> tuple[int, ...]:
    return step.stride() if is_dense(step) else torch.empty_like(step).stride()


def is_dense(step: Tensor) -> bool:
    """Whether the elements fill their memory, in any order of the axes."""
    size = 1
    for stride, length in sorted(zip(step.stride(), step.shape, strict=True)):
        if length != 1:
            if stride != size:
                return False
            size *= length
    return True


def _same(shape: Sequence[int], found: Sequence[int], wanted: Sequence[int]) -> bool:
    return all(n == 1 or f == w for n, f, w in zip(shape, found, wanted, strict=True))
