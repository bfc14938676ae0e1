"""Similarity of spike trains: coincidences, and the distance of van Rossum."""

import math
from typing import Any

from torch import Tensor

from ..core import checks
from ..core.numbers import numbers_of, real, tensor
from ..neurons.leaky_integrator import LI

__all__ = ["coincidence_factor", "van_rossum_distance"]


def coincidence_factor(predicted: Any, recorded: Any, *, window: float, duration: float) -> float:
    r"""Coincidences of predicted and recorded spikes beyond chance.

    .. math::
        \Gamma = \frac{N_{coinc} - 2 \nu \Delta N_{rec}}{(N_{rec} + N_{pred}) / 2} \cdot
        \frac{1}{1 - 2 \nu \Delta} \qquad \nu = N_{pred} / T

    It is 1 for equal trains and 0 on average for a Poisson train of the predicted rate. Each spike
    takes part in at most one coincidence.

    Args:
        predicted: times of the predicted spikes, [N], in any order, such as ``spk.nonzero() * dt``.
        recorded: times of the recorded spikes, [M], in the same unit.
        window: Delta; spikes at most this far apart coincide, >= 0, in the unit of the times.
        duration: T of the recording, > 0.

    Returns:
        Gamma, at most 1; NaN without any spike.

    Raises:
        TypeError: the times are not real numbers.
        ValueError: a number is out of range, or chance coincidences exceed the recorded spikes (2
            nu Delta >= 1).

    Source: Kistler, Gerstner & van Hemmen (1997), Neural Computation 9, 1015-1045; Jolivet, Lewis &
    Gerstner (2004), J. Neurophysiol. 92, 959-976, for the rate.

    >>> recorded = torch.tensor([10.0, 30.0, 70.0, 90.0])
    >>> round(coincidence_factor([11, 33, 69, 90], recorded, window=2.0, duration=100.0), 4)
    0.7024
    """
    window = real("window", window, 0.0, example=2.0)
    duration = real("duration", duration, 0.0, open_low=True, example=1000.0)
    first, second = _times("predicted", predicted), _times("recorded", recorded)
    if not first and not second:
        return math.nan
    chance = 2 * window * len(first) / duration
    if chance >= 1:
        raise ValueError(
            f"the windows of the predicted spikes must cover less than the duration, got "
            f"2 * {window:g} * {len(first)} of {duration:g}; write a smaller window"
        )
    excess = _coincidences(first, second, window) - chance * len(second)
    return excess / ((len(first) + len(second)) / 2) / (1 - chance)


def van_rossum_distance(spk: Tensor, target: Tensor, tau: float) -> Tensor:
    r"""Squared distance of spike trains after exponential filtering.

    .. math::
        D^2 = \frac{1}{\tau} \int_0^\infty \big(f(t) - g(t)\big)^2 dt \qquad
        f(t) = \sum_{t_i \le t} e^{-(t - t_i) / \tau}

    In steps, and scaled so that one unmatched spike counts 1/2, as in continuous time. What is left
    of the filters after the last step counts too. It is differentiable, a loss for spike times.

    Args:
        spk: spikes, [T, B, ...].
        target: spikes of the same shape.
        tau: time constant, in steps, > 0. Small ones detect coincidences, large ones compare
            counts.

    Returns:
        [B, ...], >= 0.

    Raises:
        TypeError: the spikes are not floating point.
        ValueError: the shapes differ, or ``tau`` is not positive.

    Source: van Rossum (2001), Neural Computation 13, 751-763, equations 2 to 4.

    >>> spk = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    >>> van_rossum_distance(spk, torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]), tau=2.0)
    tensor([0.5000, 0.3935])
    """
    tau = real("tau", tau, 0.0, open_low=True, example=5.0)
    floats = tensor("spk", spk).is_floating_point() and tensor("target", target).is_floating_point()
    if not floats:
        raise TypeError(
            f"spk and target must be floating point, got {spk.dtype} and {target.dtype}; write "
            "spk.float()"
        )
    if spk.shape != target.shape or spk.dim() < 2 or not len(spk):
        raise ValueError(
            "spk and target must have one shape [T, B, ...] with T > 0, got "
            f"{tuple(spk.shape)} and {tuple(target.shape)}"
        )
    checks.finite(spk, "spk")
    checks.finite(target, "target")
    decay = math.exp(-1 / tau)
    filtered, _ = LI(spk.new_tensor(decay)).to(spk).scan(spk - target)
    rest = filtered[-1].square() * decay**2 / (1 - decay**2)
    return (1 - decay**2) / 2 * (filtered.square().sum(0) + rest)


def _times(name: str, times: Any) -> list[float]:
    """Spike times in ascending order."""
    if not len(times):
        return []
    found = numbers_of(name, times).flatten()
    if not bool(found.isfinite().all()):
        raise ValueError(f"{name} must hold finite times, got NaN or infinity; remove them")
    return found.sort().values.tolist()


def _coincidences(first: list[float], second: list[float], window: float) -> int:
    """The largest number of pairs within the window; the earliest possible partner is optimal."""
    count = i = j = 0
    while i < len(first) and j < len(second):
        if abs(first[i] - second[j]) <= window:
            count += 1
            i += 1
            j += 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    return count
