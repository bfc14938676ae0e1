"""Latency coding: each input fires once, and larger inputs fire earlier.

A spike time is the charging time of an RC circuit under a constant current, or linear in the input
(``linear=True``). Times are in steps, in float32 or float64; spikes are ``[T, B, ...]`` in the
dtype of the input.
"""

import torch
from torch import Tensor

from ..core.checks import in_range
from ..core.numbers import flag, real
from .input_checks import intensities, step_count

__all__ = [
    "latency",
    "latency_code",
    "latency_code_linear",
    "latency_code_log",
    "latency_interpolate",
]


def latency(
    data: Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    on_target: float = 1,
    off_target: float = 0,
    clip: bool = False,
    normalize: bool = False,
    linear: bool = False,
    interpolate: bool = False,
    bypass: bool = False,
    epsilon: float = 1e-7,
) -> Tensor:
    """One spike for each input, at the rounded time of `latency_code`.

    Args:
        data: intensities in [0, 1], [B, ...].
        num_steps: T; optional with ``bypass``, where the last spike ends the train.
        threshold: intensity in (0, 1); inputs at or below it fire last.
        tau: time constant in steps.
        first_spike_time: step before which nothing fires.
        on_target: value of a spike.
        off_target: value of no spike.
        clip: whether inputs below ``threshold`` stay silent.
        normalize: whether to stretch the times so that the last spike is at step T - 1.
        linear: whether times are linear in the input instead of logarithmic.
        interpolate: whether to rise linearly from ``off_target`` to ``on_target`` until the spike;
            for targets, not for inputs.
        bypass: whether to drop spikes after T instead of raising an error.
        epsilon: minimum distance from ``threshold``, where the logarithm is infinite.

    Returns:
        [T, B, ...] of ``on_target`` and ``off_target``, in the dtype and on the device of ``data``.

    Raises:
        TypeError: ``data`` is not floating point, or ``num_steps`` not an integer.
        ValueError: an argument out of range, or a spike after the last step.

    Beyond snnTorch: ``off_target`` may be negative, and ``clip`` works together with
    ``interpolate``.

    >>> latency(torch.tensor([1.0, 0.5, 0.0]), num_steps=3, normalize=True, linear=True)
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    in_range("data", intensities(data), 0, 1, why="scale it first, images by / 255")
    _check_options(on_target, off_target, clip=clip, interpolate=interpolate, bypass=bypass)
    steps = step_count(num_steps)
    if not steps and not bypass:
        raise ValueError(
            "latency needs num_steps > 0, got none; write num_steps=100, or bypass=True to stop at "
            "the last spike"
        )
    time, below = latency_code(
        data, steps, threshold, tau, first_spike_time, normalize, linear, epsilon
    )
    latest = int(time.max().round()) if time.numel() else 0
    if steps and latest >= steps and not bypass:
        raise ValueError(
            f"spikes must fall before num_steps={steps}, got one at step {latest}; write "
            "normalize=True, a smaller tau, or bypass=True to drop what is late"
        )
    steps = steps or latest + 1
    if clip:
        time = time.masked_fill(below, torch.inf)
    if interpolate:
        return latency_interpolate(time, steps, on_target, off_target).to(data.dtype)
    fires = _steps_like(steps, time) == time.round()
    return torch.where(fires, float(on_target), float(off_target)).to(data.dtype)


def latency_code(
    data: Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    normalize: bool = False,
    linear: bool = False,
    epsilon: float = 1e-7,
) -> tuple[Tensor, Tensor]:
    """Spike time of each input, and a mask of the inputs below the threshold.

    Args:
        data: intensities, [B, ...].
        num_steps: T, needed with ``normalize``.
        threshold: intensity in (0, 1); inputs at or below it fire last.
        tau: time constant in steps.
        first_spike_time: added to all times, in steps.
        normalize: whether to stretch the times to T - 1.
        linear: whether to use `latency_code_linear` instead of `latency_code_log`.
        epsilon: minimum distance from ``threshold``, where the logarithm is infinite.

    Returns:
        Times in steps, not rounded, and a boolean mask; both [B, ...].

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: an argument out of range.

    >>> time, below = latency_code(torch.tensor([1.0, 0.0]), tau=5.0, linear=True)
    >>> time, below
    (tensor([0.0000, 4.9500]), tensor([False,  True]))
    """
    real("epsilon", epsilon, 0.0, open_low=True, example=1e-7)
    if flag("linear", linear):
        time = latency_code_linear(data, num_steps, threshold, tau, first_spike_time, normalize)
    else:
        time = latency_code_log(
            data, num_steps, threshold, tau, first_spike_time, normalize, epsilon
        )
    return time, data < threshold


def latency_code_linear(
    data: Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    normalize: bool = False,
) -> Tensor:
    """Linear spike times, ``min(tau (1 - data), tau (1 - threshold)) + first_spike_time``.

    Args:
        data: intensities, [B, ...]; intensities in [0, 1] give times of 0 or later.
        num_steps: T, needed with ``normalize``.
        threshold: intensity in (0, 1); inputs at or below it fire last.
        tau: time of an input of intensity 0, in steps.
        first_spike_time: added to all times, in steps.
        normalize: whether ``tau`` is replaced by T - 1 - ``first_spike_time``.

    Returns:
        Times in steps, not rounded, [B, ...], in float32 or float64.

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: an argument out of range.

    >>> latency_code_linear(torch.tensor([1.0, 0.5]), num_steps=11, normalize=True)
    tensor([0., 5.])
    """
    data, steps = _checked(data, num_steps, threshold, tau, first_spike_time, normalize)
    first = step_count(first_spike_time, "first_spike_time")
    if normalize:
        tau = steps - 1 - first
    time = torch.clamp_max(-tau * (data - 1), -tau * (threshold - 1)) + first
    if normalize and time.numel() and bool(time.min() < 0):  # intensities above 1
        time = (time - time.min()) / (time.max() - time.min()) * (steps - 1)
    return time


def latency_code_log(
    data: Tensor,
    num_steps: int | bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    normalize: bool = False,
    epsilon: float = 1e-7,
) -> Tensor:
    """Spike times of an RC circuit, ``tau ln(data / (data - threshold)) + first_spike_time``.

    Args:
        data: intensities, [B, ...]; clamped to ``threshold + epsilon`` or more.
        num_steps: T, needed with ``normalize``.
        threshold: intensity in (0, 1); inputs at or below it fire last.
        tau: time constant in steps.
        first_spike_time: added to all times, in steps.
        normalize: whether to stretch the times so that the last one is T - 1.
        epsilon: minimum distance from ``threshold``.

    Returns:
        Times in steps, not rounded, [B, ...], in float32 or float64.

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: an argument out of range, or an ``epsilon`` that vanishes in rounding.

    >>> latency_code_log(torch.tensor([1.0, 0.02]), threshold=0.01, tau=5)
    tensor([0.0503, 3.4657])
    """
    data, steps = _checked(data, num_steps, threshold, tau, first_spike_time, normalize)
    first = step_count(first_spike_time, "first_spike_time")
    real("epsilon", epsilon, 0.0, open_low=True, example=1e-7)
    if bool(data.new_tensor(threshold + epsilon) <= data.new_tensor(threshold)):
        raise ValueError(
            f"epsilon must not vanish beside threshold={threshold} in {data.dtype}, got {epsilon}; "
            "write epsilon=1e-6"
        )
    data = data.clamp(threshold + epsilon)
    time = float(tau) * torch.log(data / (data - threshold))
    if normalize and time.numel():
        time = time * (steps - first - 1) / time.max().clamp(min=torch.finfo(time.dtype).tiny)
    return time + first


def latency_interpolate(
    spike_time: Tensor, num_steps: int, on_target: float = 1, off_target: float = 0
) -> Tensor:
    """Linear rise from ``off_target`` at step 0 to ``on_target`` at the spike, then ``off_target``.

    Args:
        spike_time: times in steps, [B, ...]; rounded. A time of T or later, such as infinity, means
            no spike and no rise.
        num_steps: T.
        on_target: value at the spike.
        off_target: value at the beginning and after the spike.

    Returns:
        [T, B, ...] in the dtype of ``spike_time``.

    Raises:
        TypeError: ``spike_time`` is not floating point, or ``num_steps`` not an integer.
        ValueError: ``on_target`` is below ``off_target``, or ``num_steps`` is negative.

    >>> latency_interpolate(torch.tensor([2.0, 0.0]), num_steps=4)
    tensor([[0.0000, 1.0000],
            [0.5000, 0.0000],
            [1.0000, 0.0000],
            [0.0000, 0.0000]])
    """
    num_steps = step_count(num_steps)
    _check_options(on_target, off_target)
    if on_target < off_target:
        raise ValueError(
            f"on_target must not be below off_target={off_target}, got {on_target}; write the "
            "larger one first"
        )
    time = intensities(spike_time, "spike_time", infinite=True).round()
    step = _steps_like(num_steps, time)
    rise = step / time * (on_target - off_target) + off_target
    rise = torch.where((step < time) & (time < num_steps), rise, float(off_target))
    return torch.where(step == time, float(on_target), rise)


def _check_options(on_target: float, off_target: float, **flags: bool) -> None:
    """Checks the values of a spike and of none, and flags by name."""
    real("on_target", on_target)
    real("off_target", off_target, example=0.0)
    for name, value in flags.items():
        flag(name, value)


def _steps_like(num_steps: int, time: Tensor) -> Tensor:
    """Step numbers [T, 1, ...] that broadcast with ``time`` [B, ...]."""
    steps = torch.arange(num_steps, dtype=time.dtype, device=time.device)
    return steps.reshape(-1, *[1] * time.dim())


def _checked(
    data: Tensor,
    num_steps: int | bool,
    threshold: float,
    tau: float,
    first_spike_time: int,
    normalize: bool,
) -> tuple[Tensor, int]:
    """Checks the arguments of both codes; returns the data in float32 or float64, and T or 0."""
    intensities(data)
    steps = step_count(num_steps)
    first = step_count(first_spike_time, "first_spike_time")
    if not 0 < real("threshold", threshold, example=0.01) < 1:
        raise ValueError(f"threshold must be in (0, 1), got {threshold}; write threshold=0.01")
    real("tau", tau, 0.0, open_low=True, example=5.0)
    if flag("normalize", normalize) and not steps:
        raise ValueError(
            "normalize=True stretches the times to num_steps, got none; write num_steps=100"
        )
    if steps and first >= steps:
        raise ValueError(
            f"first_spike_time must be below num_steps={steps}, got {first}; write "
            f"num_steps={first + 1} or more"
        )
    if first:
        in_range(
            "data", data, 0, 1, why="first_spike_time holds only for intensities in this range"
        )
    return data if data.dtype == torch.float64 else data.float(), steps
