"""Class labels as spike trains that an output layer should fire.

Targets are ``[B, C]`` if they are the same at every step, else ``[T, B, C]``, in torch's default
dtype. Labels that change over time, ``[T, B]``, are accepted for codes that are the same at every
step, and give ``[T, B, C]``.
"""

from typing import Any

import torch
from torch import Tensor

from ..core.checks import choice
from ..core.numbers import flag, random_source, real, tensor
from .input_checks import intensities, step_count
from .latency_coding import latency
from .one_hot import to_one_hot

__all__ = [
    "rate_interpolate",
    "target_rate_code",
    "targets_convert",
    "targets_latency",
    "targets_rate",
]


def targets_convert(
    targets: Tensor,
    num_classes: int,
    code: str = "rate",
    num_steps: int | bool = False,
    first_spike_time: int = 0,
    correct_rate: float = 1,
    incorrect_rate: float = 0,
    on_target: float = 1,
    off_target: float = 0,
    firing_pattern: str = "regular",
    interpolate: bool = False,
    epsilon: float = 1e-7,
    threshold: float = 0.01,
    tau: float = 1,
    clip: bool = False,
    normalize: bool = False,
    linear: bool = False,
    bypass: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Targets of the named code: `targets_rate` or `targets_latency`.

    Args:
        targets: class labels, [B].
        num_classes: C.
        code: "rate" or "latency".
        num_steps, first_spike_time, on_target, off_target, interpolate, epsilon: for both codes.
        correct_rate, incorrect_rate, firing_pattern, generator: for the rate code.
        threshold, tau, clip, normalize, linear, bypass: for the latency code.

    Returns:
        The result of `targets_rate` or `targets_latency`.

    Raises:
        ValueError: another ``code``, or an error of `targets_rate` or `targets_latency`.

    snnTorch drops ``on_target``, ``off_target``, ``interpolate`` and ``epsilon`` for the latency
    code.

    >>> targets_convert(torch.tensor([1]), num_classes=3)
    tensor([[0., 1., 0.]])
    """
    if choice("code", code, ["rate", "latency"]) == "rate":
        return targets_rate(
            targets,
            num_classes,
            num_steps=num_steps,
            first_spike_time=first_spike_time,
            correct_rate=correct_rate,
            incorrect_rate=incorrect_rate,
            on_target=on_target,
            off_target=off_target,
            firing_pattern=firing_pattern,
            interpolate=interpolate,
            epsilon=epsilon,
            generator=generator,
        )
    return targets_latency(
        targets,
        num_classes,
        num_steps=num_steps,
        first_spike_time=first_spike_time,
        on_target=on_target,
        off_target=off_target,
        interpolate=interpolate,
        threshold=threshold,
        tau=tau,
        clip=clip,
        normalize=normalize,
        linear=linear,
        epsilon=epsilon,
        bypass=bypass,
    )


def targets_rate(
    targets: Tensor,
    num_classes: int,
    num_steps: int | bool = False,
    first_spike_time: int = 0,
    correct_rate: float = 1,
    incorrect_rate: float = 0,
    on_target: float = 1,
    off_target: float = 0,
    firing_pattern: str = "regular",
    interpolate: bool = False,
    epsilon: float = 1e-7,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Targets of a rate code: one rate for the class, another for the others.

    With rates 1 and 0 and no ``first_spike_time`` the target is the same at every step and has no
    time axis.

    Args:
        targets: class labels, [B].
        num_classes: C.
        num_steps: T, needed unless the rates are 1 and 0 from the first step.
        first_spike_time: step before which nothing fires.
        correct_rate: spikes per step of the class, in [0, 1].
        incorrect_rate: spikes per step of the other classes, in [0, ``correct_rate``].
        on_target: value of a spike.
        off_target: value of no spike.
        firing_pattern: "regular", "uniform" or "poisson", see `target_rate_code`.
        interpolate: whether to rise linearly between spikes, see `rate_interpolate`.
        epsilon: has no effect; the rise is exact without it.
        generator: source of randomness; default is torch's global one.

    Returns:
        [B, C] or [T, B, C] of ``on_target`` and ``off_target``.

    Raises:
        ValueError: rates out of range, or ``num_steps`` needed and missing.

    snnTorch fails for other rates than 1 and 0 unless T = C, and takes a negative ``off_target`` as
    0.

    >>> targets_rate(torch.tensor([1]), num_classes=2, num_steps=4, correct_rate=0.5).squeeze(1)
    tensor([[0., 1.],
            [0., 0.],
            [0., 1.],
            [0., 0.]])
    """
    _check_rates(correct_rate, incorrect_rate)
    firing_pattern = _pattern(firing_pattern)
    flag("interpolate", interpolate)
    on = float(real("on_target", on_target))
    off = float(real("off_target", off_target, example=0.0))
    first_spike_time = step_count(first_spike_time, "first_spike_time")
    random_source(generator)
    hot = to_one_hot(targets, num_classes).bool()
    constant = correct_rate == 1 and incorrect_rate == 0
    if constant and not first_spike_time:
        return torch.where(hot, on, off)
    steps = step_count(num_steps)
    if not steps:
        raise ValueError(
            f"num_steps must be given for correct_rate={correct_rate}, "
            f"incorrect_rate={incorrect_rate}, first_spike_time={first_spike_time}, got none; "
            "write num_steps=100"
        )
    trains = []
    for rate in (correct_rate, incorrect_rate):
        spikes, times = target_rate_code(
            steps, first_spike_time, rate, firing_pattern, generator=generator
        )
        if interpolate and not constant:
            train = rate_interpolate(times, steps, on, off)
        else:
            train = torch.where(spikes.bool(), on, off)
        trains.append(train.to(hot.device).reshape(-1, *[1] * hot.dim()))  # [T, 1, 1]
    return torch.where(hot, *trains)


def _check_rates(correct: float, incorrect: float) -> None:
    """Refuses rates that are not probabilities or that favour the other classes."""
    real("correct_rate", correct, 0.0, 1.0)
    real("incorrect_rate", incorrect, 0.0, 1.0, example=0.0)
    if incorrect > correct:
        raise ValueError(
            f"correct_rate must not be below incorrect_rate={incorrect}, got {correct}; swap them"
        )


def _pattern(value: Any) -> str:
    """The name of a firing pattern, in any case."""
    name = value.lower() if isinstance(value, str) else value
    return choice("firing_pattern", name, ["regular", "uniform", "poisson"])


def target_rate_code(
    num_steps: int,
    first_spike_time: int = 0,
    rate: float = 1,
    firing_pattern: str = "regular",
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """One spike train at a given rate, and its spike times.

    Args:
        num_steps: T.
        first_spike_time: step before which nothing fires.
        rate: spikes per step in [0, 1].
        firing_pattern: "regular" fires every 1 / rate steps from ``first_spike_time``; "uniform"
            fires as often at random steps, which may coincide; "poisson" fires at each step with
            probability ``rate``.
        generator: source of randomness; default is torch's global one.

    Returns:
        Spikes 0 or 1, [T] in torch's default dtype, and times in steps, [number of spikes] of
        torch.int64.

    Raises:
        ValueError: ``rate`` outside [0, 1], ``first_spike_time`` beyond T, another pattern.

    >>> target_rate_code(num_steps=6, first_spike_time=1, rate=0.5)
    (tensor([0., 1., 0., 1., 0., 1.]), tensor([1, 3, 5]))
    """
    steps = step_count(num_steps)
    first = step_count(first_spike_time, "first_spike_time")
    real("rate", rate, 0.0, 1.0)
    pattern = _pattern(firing_pattern)
    random_source(generator)
    if first > steps:
        raise ValueError(
            f"first_spike_time must not exceed num_steps={steps}, got {first}; write "
            f"num_steps={first} or more"
        )
    if rate == 0:
        return torch.zeros(steps), torch.zeros(0, dtype=torch.int64)
    if pattern == "poisson":
        probability = torch.cat([torch.zeros(first), torch.full((steps - first,), float(rate))])
        spikes = torch.bernoulli(probability, generator=generator)
        return spikes, spikes.nonzero().squeeze(1)
    times = torch.arange(first, steps, 1 / rate)
    if pattern == "uniform":
        times = torch.rand(len(times), generator=generator) * (steps - first) + first
    times = times.long()
    return torch.zeros(steps).scatter(0, times, 1), times


def rate_interpolate(
    spike_time: Tensor,
    num_steps: int,
    on_target: float = 1,
    off_target: float = 0,
    epsilon: float = 1e-7,
) -> Tensor:
    """Linear rise from ``off_target`` after each spike to ``on_target`` at the next.

    Args:
        spike_time: times in steps, [number of spikes], in any order.
        num_steps: T.
        on_target: value at a spike.
        off_target: value at step 0, right after a spike, and at all steps after the last one.
        epsilon: has no effect; the rise is exact without it.

    Returns:
        [T] in torch's default dtype.

    Raises:
        TypeError: ``spike_time`` is not a tensor, or ``num_steps`` not an integer.
        ValueError: ``num_steps`` is negative, or ``spike_time`` is not a vector of finite times.

    >>> rate_interpolate(torch.tensor([0, 3]), num_steps=6)
    tensor([1.0000, 0.0000, 0.5000, 1.0000, 0.0000, 0.0000])
    """
    num_steps = step_count(num_steps)
    on_target = real("on_target", on_target)
    off_target = real("off_target", off_target, example=0.0)
    if tensor("spike_time", spike_time).is_complex() or spike_time.dim() > 1:
        raise ValueError(
            f"spike_time must be times [number of spikes], got {spike_time.dtype} of shape "
            f"{tuple(spike_time.shape)}; write spike_time.flatten()"
        )
    if spike_time.is_floating_point():
        intensities(spike_time, "spike_time")
    steps = torch.arange(num_steps, device=spike_time.device)
    times = torch.cat(
        [steps.new_tensor([-1]), spike_time.long().unique(), steps.new_tensor([num_steps])]
    )
    following = torch.searchsorted(times, steps)
    start = times[following - 1] + 1  # a rise begins one step after the previous spike
    end = times[following]
    rise = (steps - start) / (end - start).clamp_min(1)
    rise = torch.where(steps == end, 1.0, rise) * (on_target - off_target) + off_target
    return torch.where(end == num_steps, float(off_target), rise)


def targets_latency(
    targets: Tensor,
    num_classes: int,
    num_steps: int | bool = False,
    first_spike_time: int = 0,
    on_target: float = 1,
    off_target: float = 0,
    interpolate: bool = False,
    threshold: float = 0.01,
    tau: float = 1,
    clip: bool = False,
    normalize: bool = False,
    linear: bool = False,
    epsilon: float = 1e-7,
    bypass: bool = False,
) -> Tensor:
    """Targets of a latency code: `latency` of the one-hot labels, so that the class fires first.

    Args:
        targets: class labels, [B].
        num_classes: C.
        num_steps, first_spike_time, on_target, off_target, interpolate, threshold, tau, clip,
            normalize, linear, epsilon, bypass: as in `spikeloom.spikegen.latency`.

    Returns:
        [T, B, C] of ``on_target`` and ``off_target``.

    Raises:
        ValueError: a label outside [0, C), or an error of `latency`.

    >>> targets_latency(torch.tensor([1]), num_classes=2, num_steps=3, normalize=True).squeeze(1)
    tensor([[0., 1.],
            [0., 0.],
            [1., 0.]])
    """
    return latency(
        to_one_hot(targets, num_classes),
        num_steps=num_steps,
        threshold=threshold,
        tau=tau,
        first_spike_time=first_spike_time,
        on_target=on_target,
        off_target=off_target,
        clip=clip,
        normalize=normalize,
        linear=linear,
        interpolate=interpolate,
        bypass=bypass,
        epsilon=epsilon,
    )
