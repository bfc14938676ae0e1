"""Decoding: spike trains become numbers.

Time comes first: every ``spk`` is ``[T, B, ...]`` as returned by a neuron in sequence mode. Counts
and rates are differentiable; times and votes are not.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .core.checks import finite
from .core.lengths import checked_lengths, cut
from .core.numbers import real, tensor, whole

__all__ = [
    "first_spike",
    "groups",
    "population_counts",
    "population_vote",
    "rates",
    "weighted_mean",
]


def first_spike(spk: Tensor, *, never: float | None = None) -> Tensor:
    """Step at which each neuron fires first.

    Args:
        spk: spikes, [T, B, ...]; any non-zero value counts as a spike.
        never: value for silent neurons. Default: T, one step past the end.

    Returns:
        [B, ...] in steps from 0, in the dtype of ``spk`` (int64 if that is not floating point),
        without gradient.

    Raises:
        TypeError: ``spk`` is not a tensor.
        ValueError: ``spk`` has no batch axis, no step, or holds NaN or infinity.

    >>> first_spike(torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]]))
    tensor([[1., 2.]])
    """
    if never is not None and not (isinstance(never, float) and math.isinf(never)):
        never = real("never", never, infinite=True)
    fired = _time_major(spk, "first_spike") != 0
    dtype = spk.dtype if spk.is_floating_point() else torch.int64
    step = fired.to(torch.uint8).argmax(0).to(dtype)  # argmax returns the first of equal maxima
    silent = len(spk) if never is None else never
    try:
        return step.masked_fill(~fired.any(0), silent)
    except RuntimeError as error:
        raise ValueError(
            f"never must be a number of {dtype}, as the steps are, got {silent:g}; write "
            "spk.float() or leave never out"
        ) from error


def rates(spk: Tensor, *, dt: float | None = None, lengths: Any = None) -> Tensor:
    """Mean firing rate of each neuron over time.

    Args:
        spk: spikes, [T, B, ...].
        dt: duration of one step in seconds. Default: rates are in spikes per step.
        lengths: steps of each sample that count, [B]. Default: T.

    Returns:
        [B, ...] in spikes per step, with ``dt`` in Hz; float32 or float64.

    Raises:
        TypeError: ``spk`` is not a tensor.
        ValueError: ``spk`` has no batch axis, or no step; ``dt`` is not positive; a length is not
            in [1, T].

    >>> rates(torch.tensor([[[0.0]], [[1.0]], [[1.0]], [[0.0]]]), dt=1e-3)
    tensor([[500.0000]])
    """
    if dt is not None:
        dt = real("dt", dt, 0.0, open_low=True, example=1e-3)
    _time_major(spk, "rates")
    if lengths is None:
        return _count(spk) / (len(spk) if dt is None else len(spk) * dt)
    ends = checked_lengths(lengths, len(spk), spk.shape[1], spk.device)
    count = _count(cut(spk, ends))
    steps = ends.to(count.dtype).reshape(-1, *[1] * (count.dim() - 1))
    return count / (steps if dt is None else steps * dt)


def groups(x: Tensor, num_classes: int) -> Tensor:
    """Splits the last axis into contiguous groups, one per class.

    Args:
        x: [..., N].
        num_classes: C; N must be a multiple of it.

    Returns:
        [..., C, N / C], a view.

    Raises:
        ValueError: ``num_classes`` is missing or does not divide N.

    >>> groups(torch.arange(4), 2)
    tensor([[0, 1],
            [2, 3]])
    """
    if not tensor("x", x).dim():
        raise ValueError(
            "a population code needs outputs [..., N], got a tensor of shape (); write x.reshape(1)"
        )
    neurons = x.shape[-1]
    if num_classes is None or num_classes is False or whole("num_classes", num_classes) == 0:
        raise ValueError(
            "a population code needs num_classes, got none; write num_classes=10 for ten classes"
        )
    if neurons % num_classes:
        raise ValueError(
            f"the number of output neurons must be a multiple of num_classes={num_classes}, got "
            f"{neurons}; write an output layer of {-(-neurons // num_classes) * num_classes} "
            "neurons"
        )
    return x.unflatten(-1, (num_classes, neurons // num_classes))


def population_counts(spk: Tensor, num_classes: int) -> Tensor:
    """Spikes of each class, each being a contiguous group of N / C neurons.

    Args:
        spk: spikes, [T, B, N].
        num_classes: C; N must be a multiple of it.

    Returns:
        [B, C] in spikes; float32 or float64.

    Raises:
        TypeError: ``spk`` is not a tensor.
        ValueError: ``num_classes`` is missing or does not divide N; ``spk`` has no batch axis, or
            no step.

    >>> population_counts(torch.tensor([[[1.0, 0.0, 1.0, 1.0]]]), 2)
    tensor([[1., 2.]])
    """
    return groups(_count(_time_major(spk, "population_counts")), num_classes).sum(-1)


def population_vote(spk: Tensor, num_classes: int) -> Tensor:
    """Class whose group of neurons fires most; the lower class wins a tie.

    Args:
        spk: spikes, [T, B, N].
        num_classes: C; N must be a multiple of it.

    Returns:
        [B] of torch.int64.

    Raises:
        TypeError: ``spk`` is not a tensor.
        ValueError: ``num_classes`` is missing or does not divide N; ``spk`` has no batch axis, or
            no step.

    >>> population_vote(torch.tensor([[[1.0, 0.0, 1.0, 1.0]]]), 2)
    tensor([1])
    """
    return population_counts(spk, num_classes).max(-1).indices


def weighted_mean(spk: Tensor, preferred: Tensor) -> Tensor:
    """Value of a population: the mean of its preferred values, weighted by spike counts.

    Args:
        spk: spikes, [T, ..., n], the last axis being the population.
        preferred: preferred value of each neuron, [n], e.g.
            `spikeloom.spikegen.population_centers`.

    Returns:
        [...] in the unit of ``preferred``; NaN for a silent population.

    Raises:
        TypeError: ``spk`` is not a tensor.
        ValueError: ``preferred`` is not [n]; ``spk`` has no batch axis, no step or no neuron.

    >>> weighted_mean(torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]]), torch.tensor([0.0, 3.0]))
    tensor([2.])
    """
    count = _count(_time_major(spk, "weighted_mean"))
    if tensor("preferred", preferred).shape != count.shape[-1:]:
        raise ValueError(
            f"weighted_mean expects a preferred value for each of the {count.shape[-1]} neurons, "
            f"got shape {tuple(preferred.shape)}; the population is the last axis of the spikes"
        )
    if not len(preferred):
        raise ValueError(
            "weighted_mean expects a population of one neuron or more, got spikes "
            f"{tuple(spk.shape)}; the population is the last axis"
        )
    if preferred.is_complex():
        raise TypeError(
            f"weighted_mean expects real preferred values, got {preferred.dtype}; write "
            "preferred.real"
        )
    if preferred.is_floating_point() and not torch.compiler.is_compiling():
        finite(preferred, "weighted_mean: the preferred values")
    return (count * preferred).sum(-1) / count.sum(-1)


def _time_major(spk: Tensor, who: str) -> Tensor:
    if not isinstance(spk, Tensor):
        hint = "torch.stack(spk_rec)" if isinstance(spk, list) else "torch.as_tensor(...)"
        raise TypeError(
            f"{who} expects a tensor of spikes [T, B, ...], got {type(spk).__name__}; write {hint}"
        )
    tensor("spk", spk)
    if spk.dim() < 2 or len(spk) == 0:
        raise ValueError(
            f"{who} expects spikes of shape [T, B, ...] with T > 0, got {tuple(spk.shape)}; a "
            "single sample needs a batch axis: spk.unsqueeze(1)"
        )
    if spk.is_complex():
        raise TypeError(f"{who} expects real spikes, got {spk.dtype}; write spk.real")
    # A check of values breaks the graph.
    if spk.is_floating_point() and not torch.compiler.is_compiling():
        finite(spk, f"{who}: the spikes")
    return spk


def _count(spk: Tensor) -> Tensor:
    """Sums over time in float32 or float64, because half precision is exact only up to 2048."""
    dtype = spk.dtype if spk.dtype == torch.float64 else torch.float32
    return spk.sum(0, dtype=dtype)
