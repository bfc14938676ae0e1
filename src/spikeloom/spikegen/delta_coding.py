"""Delta coding: a spike where a signal changes enough from one step to the next."""

import torch
from torch import Tensor

__all__ = ["delta"]


def delta(data: Tensor, threshold: float = 0.1, padding: bool = False, off_spike: bool = False) -> Tensor:
    """Spike 1 where ``data[t] - data[t-1] >= threshold``, and -1 where it falls as much if ``off_spike``.

    Args:
        data: signal, [T, ...].
        threshold: smallest change that spikes, in the unit of ``data``; positive.
        padding: compare the first step with itself, so that it never spikes. Otherwise with 0.
        off_spike: whether falls spike too.

    Returns:
        1, 0 and -1, [T, ...] in the dtype of ``data``.

    Raises:
        TypeError: no tensor, or unsigned or boolean values, whose differences cannot be negative.
        ValueError: NaN, or ``threshold`` is not positive.

    >>> delta(torch.tensor([1.0, 2.0, 5.0, 3.0]), threshold=2, off_spike=True)
    tensor([ 0.,  0.,  1., -1.])
    """
    if not isinstance(data, Tensor):
        raise TypeError(f"data must be a torch.Tensor, got {type(data).__name__}; write torch.as_tensor(data)")
    if not data.is_floating_point() and not data.dtype.is_signed:
        raise TypeError(
            f"data must be signed to have differences, got {data.dtype}; write data.float(), for images data / 255"
        )
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}; write the smallest change that should spike")
    if bool(data.isnan().any()):
        raise ValueError(f"data must not hold NaN, got {int(data.isnan().sum())} values; write torch.nan_to_num(data)")
    before = torch.cat([data[:1] if padding else torch.zeros_like(data[:1]), data[:-1]])
    change = data - before
    spikes = (change >= threshold).to(data.dtype)
    return spikes - (change <= -threshold).to(data.dtype) if off_spike else spikes
