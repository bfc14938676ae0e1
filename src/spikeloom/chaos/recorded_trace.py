"""Tests for chaos in a recorded trace: the separation of neighbours, and the 0-1 test.

They are for runs of which only a trace exists: a weight, a loss, a rate. Both need a stationary
trace; divide the trace of an annealed run into pieces first.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..core.numbers import numbers_of
from ..core.numbers import whole as whole_number
from .exponents import Exponent, Exponents, estimate, whole

__all__ = ["lyapunov_of_trace", "zero_one_test"]


def series(trace: Any, least: int) -> Tensor:
    """Converts a trace to [steps, features] in float64.

    Raises:
        ValueError: it is too short or not finite.
    """
    x = numbers_of("trace", trace)
    x = x.reshape(len(x), -1) if x.dim() else x.reshape(1, 1)
    if len(x) < least or not bool(x.isfinite().all()):
        raise ValueError(
            f"trace must be [steps] or [steps, features], finite and of {least} steps or more, got "
            f"{len(x)} steps; record longer, or lower dimension, lag and horizon"
        )
    return x


def lyapunov_of_trace(
    trace: Any,
    *,
    dimension: int = 3,
    lag: int = 1,
    apart: int = 10,
    horizon: int = 5,
    seed: int = 0,
) -> Exponents:
    """Largest Lyapunov exponent of a recorded trace by Rosenstein's method.

    Each moment, embedded in ``dimension`` delays, is paired with its nearest neighbour at another
    time; the exponent is the mean growth of the logarithm of their distance over ``horizon`` steps.
    Noise in the recording biases the exponent upwards: compare with `zero_one_test`.

    Args:
        trace: [steps], or [steps, features].
        dimension: number of delays.
        lag: steps between them.
        apart: minimum distance of neighbours in time, in steps.
        horizon: steps of the growth, in which the distance must stay small.
        seed: seed of the bootstrap.

    Returns:
        `Exponents` with one entry, whose ``eps`` is the median distance of neighbours. The exponent
        of an exactly periodic trace is minus infinity.

    Raises:
        ValueError: the trace is too short or not finite.

    >>> x = [0.3]
    >>> for _ in range(1500): x.append(4 * x[-1] * (1 - x[-1]))
    >>> 0.6 < lyapunov_of_trace(x, dimension=2, horizon=3).value < 0.78  # ln 2 = 0.693
    True
    """
    seed = whole_number("seed", seed)
    whole("dimension", dimension)
    whole("lag", lag)
    whole("apart", apart)
    whole("horizon", horizon)
    x = series(trace, (dimension - 1) * lag + horizon + 2 * apart + 2)
    number = len(x) - (dimension - 1) * lag
    # [number, dimension * F]
    points = torch.cat([x[i * lag : i * lag + number] for i in range(dimension)], dim=1)
    usable = number - horizon
    nearest, distance = _neighbours(points[:usable], apart)
    differs = distance > 0
    if not bool(differs.any()):
        return Exponents((Exponent(-math.inf, -math.inf, -math.inf, 0.0, torch.empty(0)),))
    index = torch.arange(usable)[differs]
    other = nearest[differs]
    distance = distance[differs]
    after = (points[index + horizon] - points[other + horizon]).norm(dim=1)
    rates = ((after.clamp(min=1e-300) / distance).log() / horizon).clamp(min=-700.0)
    return Exponents((estimate(rates, float(distance.median()), seed=seed),))


def _neighbours(points: Tensor, apart: int, chunk: int = 512) -> tuple[Tensor, Tensor]:
    """Index and distance of each point's nearest neighbour at least ``apart`` steps away."""
    time = torch.arange(len(points))
    found = []
    for rows in time.split(chunk):
        distance = torch.cdist(points[rows], points, compute_mode="donot_use_mm_for_euclid_dist")
        distance.masked_fill_((rows[:, None] - time).abs() < apart, math.inf)
        found.append(distance.min(1))
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


def zero_one_test(trace: Any, *, angles: int = 100, seed: int = 0) -> float:
    """The 0-1 test for chaos: near 1 for a chaotic trace, near 0 for a regular one.

    The trace drives a walk in the plane; its mean square displacement grows with time if the trace
    is chaotic and stays bounded if it is not. The result is the median correlation of displacement
    and time over random angles.

    Args:
        trace: [steps], at least 100.
        angles: number of random angles.
        seed: seed of the angles.

    Raises:
        ValueError: the trace is too short or not finite.

    >>> x = [0.3]
    >>> for _ in range(1000): x.append(4 * x[-1] * (1 - x[-1]))
    >>> zero_one_test(x) > 0.9, abs(zero_one_test([0.1, 0.9] * 500)) < 0.2
    (True, True)
    """
    whole("angles", angles)
    seed = whole_number("seed", seed)
    x = series(trace, 100)[:, 0]
    n = len(x)
    cut = n // 10
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(angles, 1, generator=generator, dtype=torch.double)
    c = drawn * (0.6 * math.pi) + 0.2 * math.pi
    phase = c * torch.arange(1, n + 1, dtype=torch.double)
    p = (x * phase.cos()).cumsum(1)  # [angles, n]
    q = (x * phase.sin()).cumsum(1)
    lags = torch.arange(1, cut + 1)
    rows = []
    for lag in lags.tolist():
        moved = (p[:, lag : n - cut + lag] - p[:, : n - cut]).square()
        moved += (q[:, lag : n - cut + lag] - q[:, : n - cut]).square()
        # The oscillating part of the displacement follows from the mean of the trace.
        oscillation = x.mean() ** 2 * (1 - (lag * c[:, 0]).cos()) / (1 - c[:, 0].cos())
        rows.append(moved.mean(1) - oscillation)
    displacement = torch.stack(rows, 1)  # [angles, cut]
    time = lags.double()
    deviation = displacement - displacement.mean(1, keepdim=True)
    along = (deviation * (time - time.mean())).mean(1)
    spread = deviation.square().mean(1).sqrt() * (time - time.mean()).square().mean().sqrt()
    return float((along / spread.clamp(min=1e-300)).median())
