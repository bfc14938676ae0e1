"""Augmentation of sequences: shifts in time, and masks over time and features.

Time comes first, [T, B, ...]. Every sample is changed by its own draw.
"""

import torch
from torch import Tensor

from ..core.numbers import tensor, whole

__all__ = ["mask_spans", "shift_time"]


def shift_time(
    x: Tensor, most: int, *, fill: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Shifts every sample by a random number of steps, earlier or later.

    Args:
        x: sequences, [T, B, ...].
        most: the largest shift in steps, in [0, T]; every shift up to it is equally likely.
        fill: value of the steps that become free.
        generator: of the draws.

    Returns:
        As ``x``; what leaves the sequence is lost.

    Raises:
        ValueError: no batch over time, or ``most`` is out of range.

    >>> x = torch.arange(1.0, 5).view(4, 1)
    >>> shift_time(x, 2, generator=torch.Generator().manual_seed(0)).flatten()
    tensor([0., 0., 1., 2.])
    """
    _batch(x)
    most = whole("most", most, 0, len(x))
    shift = torch.randint(-most, most + 1, (x.shape[1],), generator=generator).to(x.device)
    source = torch.arange(len(x), device=x.device).unsqueeze(1) - shift  # [T, B]
    inside = (source >= 0) & (source < len(x))
    shifted = x[source.clamp(0, len(x) - 1), torch.arange(x.shape[1], device=x.device)]
    return shifted.masked_fill(~inside.reshape(*inside.shape, *[1] * (x.dim() - 2)), fill)


def mask_spans(
    x: Tensor,
    most: int,
    *,
    axis: int = 0,
    fill: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Masks a random span of steps, or of features, in every sample.

    Args:
        x: sequences, [T, B, ...].
        most: the longest span, in [0, length of the axis]; every length up to it, 0 included, and
            then every place, is equally likely.
        axis: 0 for steps, 2 or more, or negative, for features.
        fill: value inside the span.
        generator: of the draws.

    Returns:
        As ``x``.

    Raises:
        ValueError: no batch over time, no such axis, or ``most`` is out of range.

    Source: Park et al. (2019), SpecAugment, Interspeech, without the warp of time.

    >>> x = torch.ones(6, 1, 1)
    >>> mask_spans(x, 4, generator=torch.Generator().manual_seed(3)).flatten()
    tensor([0., 1., 1., 1., 1., 1.])
    """
    _batch(x)
    place = axis + x.dim() if axis < 0 else axis
    if place == 1 or not 0 <= place < x.dim():
        raise ValueError(
            f"axis must be 0 for time or an axis of features of {tuple(x.shape)}, got {axis}; the "
            "batch is axis 1"
        )
    size, batch = x.shape[place], x.shape[1]
    most = whole("most", most, 0, size)
    length = torch.randint(0, most + 1, (batch,), generator=generator)
    start = (torch.rand(batch, generator=generator) * (size - length + 1)).floor().long()
    positions = torch.arange(size).unsqueeze(1)
    inside = ((positions >= start) & (positions < start + length)).to(x.device)  # [size, B]
    shape = [1] * x.dim()
    shape[1] = batch
    shape[place] = size
    return x.masked_fill((inside.t() if place > 1 else inside).reshape(shape), fill)


def _batch(x: Tensor) -> None:
    if tensor("x", x).dim() < 2 or not len(x):
        raise ValueError(f"x must be sequences [T, B, ...] with T > 0, got {tuple(x.shape)}")
