"""Recordings of unequal length in a padded batch: which steps count, and the last valid values.

Time is the first axis and the batch the second one. Networks are causal and samples do not act on
each other, so that padding cannot change what a recording yields before its end. What follows is
cut off here, and states keep their last valid values.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["alive_or", "by_length", "checked_lengths", "cut", "held"]


def checked_lengths(
    lengths: Any, num_steps: int | None, batch: int | None, device: Any = None
) -> Tensor:
    """Return the lengths of the samples of a batch as int64, [B].

    Args:
        lengths: steps of each sample, whole numbers in [1, ``num_steps``], [B].
        num_steps: T of the padded batch; None: unknown.
        batch: B; None: unknown.
        device: of the result.

    Raises:
        TypeError: no whole numbers.
        ValueError: another shape, or a length out of range.

    >>> checked_lengths([2, 3], num_steps=3, batch=2)
    tensor([2, 3])
    """
    try:
        given = torch.as_tensor(lengths, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"lengths must hold one whole number for each sample, got {lengths!r}; write "
            "lengths=torch.tensor([20, 17])"
        ) from error
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise TypeError(
            f"lengths must be whole numbers, got {given.dtype}; write lengths.long(), for a mask "
            "[T, B] mask.sum(0)"
        )
    if given.dim() != 1 or batch not in (None, len(given)):
        raise ValueError(
            f"lengths must have shape ({'B' if batch is None else batch},), one for each sample, "
            f"got {tuple(given.shape)}"
        )
    given = given.long()
    most = torch.iinfo(torch.int64).max if num_steps is None else num_steps
    if len(given) and not (given.min() >= 1 and given.max() <= most):
        wrong = given[(given < 1) | (given > most)][0].item()
        shown = "T" if num_steps is None else num_steps
        raise ValueError(
            f"lengths must be in [1, {shown}], the steps of the batch, got {wrong}; leave "
            "empty recordings out"
        )
    return given


def cut(values: Tensor, lengths: Tensor) -> Tensor:
    """Return ``values``, [T, B, ...], with zeros after the end of each sample.

    >>> cut(torch.ones(3, 2), torch.tensor([1, 3]))
    tensor([[1., 1.],
            [0., 1.],
            [0., 1.]])
    """
    inside = torch.arange(len(values), device=values.device).unsqueeze(1) < lengths
    return values.masked_fill(~inside.reshape(*inside.shape, *[1] * (values.dim() - 2)), 0)


def alive_or(alive: Tensor, new: Tensor, old: Tensor, axis: int = 0) -> Tensor:
    """Return ``new`` for the samples that go on, ``old`` for those that have ended.

    Args:
        alive: which samples go on, [B].
        new, old: tensors of one shape.
        axis: of the samples.

    >>> alive_or(torch.tensor([True, False]), torch.ones(2), torch.zeros(2))
    tensor([1., 0.])
    """
    shape = [1] * new.dim()
    shape[axis] = -1
    return torch.where(alive.view(shape), new, old)


def held(values: Tensor, start: Tensor, lengths: Tensor) -> Tensor:
    """Return ``values``, [T, B, ...], that keep their last valid value after each sample's end.

    Args:
        values: after each step, [T, B, ...].
        start: before the first step, [B, ...]; the value of samples of length 0.
        lengths: in [0, T], [B].

    >>> held(torch.tensor([[1, 2], [3, 4]]), torch.tensor([8, 9]), torch.tensor([1, 0]))
    tensor([[1, 9],
            [1, 9]])
    """
    last = values[(lengths - 1).clamp(min=0), torch.arange(len(lengths), device=values.device)]
    last = alive_or(lengths > 0, last, start.to(last.dtype))
    inside = torch.arange(len(values), device=values.device).unsqueeze(1) < lengths
    return torch.where(inside.reshape(*inside.shape, *[1] * (values.dim() - 2)), values, last)


def by_length(
    function: Callable[[Tensor, Tensor], Tensor], values: Tensor, targets: Tensor, lengths: Tensor
) -> Tensor:
    """Return the results of a function of padded recordings and targets, without the padding.

    The samples of equal length are one call, so that the function needs no mask.

    Args:
        function: of [T, B, ...] and [B, ...]; returns [B, ...].
        values: padded recordings, [T, B, ...].
        targets: [B, ...].
        lengths: as `checked_lengths` returns them.

    Raises:
        ValueError: the first axis of a result is not that of the samples.

    >>> ends = torch.tensor([2, 4])
    >>> by_length(lambda x, y: x.mean(0) - y, torch.ones(4, 2).cumsum(0), torch.zeros(2), ends)
    tensor([1.5000, 2.5000])
    """
    samples = [(lengths == length).nonzero().flatten() for length in lengths.unique()]
    ends = [int(lengths[chosen[0]]) for chosen in samples]
    parts = [
        function(values[:end, chosen], targets[chosen])
        for end, chosen in zip(ends, samples, strict=True)
    ]
    for part, chosen in zip(parts, samples, strict=True):
        if part.shape[:1] != chosen.shape:
            raise ValueError(
                f"lengths need one result for each of {len(chosen)} samples, got shape "
                f"{tuple(part.shape)}; several spike times, for example, have an axis before the "
                "samples: write one call for each sample"
            )
    shapes = sorted({tuple(part.shape[1:]) for part in parts})
    if len(shapes) > 1:
        raise ValueError(
            f"lengths need results of one shape, got {', '.join(map(str, shapes))}; read one "
            'number for each output, such as readout="mean_membrane", not one for each step'
        )
    return torch.cat(parts)[torch.cat(samples).argsort()]
