"""Delta coding: a spike where a signal changes enough from one step to the next."""

import torch
from torch import Tensor

from ..core.numbers import flag, real, tensor
from .input_checks import intensities

__all__ = ["delta"]


def delta(
    data: Tensor, threshold: float = 0.1, padding: bool = False, off_spike: bool = False
) -> Tensor:
    """Spikes where ``data[t] - data[t-1] >= threshold``.

    Args:
        data: signal, [T, ...].
        threshold: smallest change that spikes, in the unit of ``data``; positive.
        padding: whether to compare the first step with itself, so that it never spikes, instead of
            with 0.
        off_spike: whether a fall of ``threshold`` or more gives a spike of -1.

    Returns:
        1, 0 and -1, [T, ...] in the dtype of ``data``.

    Raises:
        TypeError: not a tensor, or unsigned or boolean values, which have no negative differences.
        ValueError: NaN or infinity, complex values, no time axis, or ``threshold`` is not positive.

    >>> delta(torch.tensor([1.0, 2.0, 5.0, 3.0]), threshold=2, off_spike=True)
    tensor([ 0.,  0.,  1., -1.])
    """
    tensor("data", data)
    flag("padding", padding)
    flag("off_spike", off_spike)
    if data.is_complex() or not data.dim():
        raise ValueError(
            f"data must be a real signal [T, ...], got {data.dtype} of shape {tuple(data.shape)}; "
            "write data.real, or data[None] for one step"
        )
    if not data.is_floating_point() and not data.dtype.is_signed:
        raise TypeError(
            f"data must be signed to have differences, got {data.dtype}; write data.float(), for "
            "images data / 255"
        )
    real("threshold", threshold, 0.0, open_low=True, example=0.1)
    if data.is_floating_point():
        intensities(data)
    before = torch.cat([data[:1] if padding else torch.zeros_like(data[:1]), data[:-1]])
    change = data - before
    spikes = (change >= threshold).to(data.dtype)
    return spikes - (change <= -threshold).to(data.dtype) if off_spike else spikes
