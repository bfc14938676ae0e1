"""Rate coding: neurons fire more often for larger values.

A batch ``[B, ...]`` becomes spikes ``[T, B, ...]``; input that already varies over time stays ``[T,
B, ...]``. Each call draws once for all steps, so that ``torch.manual_seed`` or a ``generator``
reproduces it.
"""

from typing import Any

import torch
from torch import Tensor

from ..core.checks import in_range
from ..core.numbers import flag, random_source, real, tensor
from .input_checks import intensities, saturating, step_count

__all__ = ["poisson", "rate", "rate_conv"]


def rate(
    data: Tensor,
    num_steps: int | bool = False,
    gain: float = 1,
    offset: float = 0,
    first_spike_time: int = 0,
    time_var_input: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Bernoulli spikes with probability ``clamp(data * gain + offset, 0, 1)`` at each step.

    Args:
        data: intensities in [0, 1], [B, ...]; with ``time_var_input`` [T, B, ...]. Values a little
            outside saturate.
        num_steps: T. Required for static input, refused for time-varying input, whose first axis
            is T.
        gain: factor of the intensities.
        offset: added after ``gain``.
        first_spike_time: steps of silence at the beginning. They are part of the T steps of static
            input, and precede those of time-varying input.
        time_var_input: whether the first axis of ``data`` is time.
        generator: source of randomness; default is torch's global one.

    Returns:
        Spikes 0 or 1, [T, B, ...], in the dtype and on the device of ``data``.

    Raises:
        TypeError: ``data`` is not floating point (images of 0 to 255: divide by 255), or
            ``num_steps`` not an integer.
        ValueError: NaN or infinity, values beyond [-4, 4] before and after the gain (images of 0 to
            255), a negative or contradictory number of steps.

    snnTorch ignores ``gain`` and ``offset`` for time-varying input; here they apply to both.

    >>> rate(torch.tensor([[0.0, 1.0]]), num_steps=3).squeeze(1)
    tensor([[0., 1.],
            [0., 1.],
            [0., 1.]])
    """
    intensities(data)
    random_source(generator, data)
    steps = step_count(num_steps)
    silent = step_count(first_spike_time, "first_spike_time")
    probability = data * _factor("gain", gain, data) + _factor("offset", offset, data)
    saturating(data, probability)
    if flag("time_var_input", time_var_input):
        if not data.dim():
            raise ValueError(
                "time_var_input=True needs a time axis, got data of shape (); write "
                "time_var_input=False"
            )
        if steps:
            raise ValueError(
                f"time_var_input=True takes its steps from the first axis ({len(data)}), got "
                f"num_steps={steps} too; leave num_steps out"
            )
        spikes = rate_conv(probability, generator=generator)
        return torch.cat([data.new_zeros(silent, *data.shape[1:]), spikes]) if silent else spikes
    if steps == 0:
        raise ValueError(
            "rate needs num_steps > 0 for static input, got none; write num_steps=100, or "
            "time_var_input=True if the first axis is time"
        )
    if silent >= steps:
        raise ValueError(
            f"first_spike_time must be below num_steps={steps}, got {silent}; write "
            f"num_steps={silent + 1} or more"
        )
    spikes = rate_conv(probability.expand(steps, *data.shape), generator=generator)
    spikes[:silent] = 0
    return spikes


def _factor(name: str, value: Any, data: Tensor) -> Any:
    """Returns a checked number, or a checked tensor that broadcasts to ``data``."""
    if not isinstance(value, Tensor):
        return real(name, value)
    try:
        fits = torch.broadcast_shapes(value.shape, data.shape) == data.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} must broadcast to data {tuple(data.shape)}, got {tuple(value.shape)}; write a "
            "number"
        )
    return intensities(value, name)


def rate_conv(data: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """One Bernoulli draw for each element, with probability ``clamp(data, 0, 1)``.

    Args:
        data: probabilities, any shape.
        generator: source of randomness; default is torch's global one.

    Returns:
        0 or 1, in the shape, dtype and device of ``data``.

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: ``data`` holds NaN.

    >>> rate_conv(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    tensor([0., 0., 1., 1.])
    """
    intensities(data)
    random_source(generator, data)
    return torch.bernoulli(data.clamp(0, 1), generator=generator)


def poisson(
    rates: Tensor,
    dt: float,
    num_steps: int | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Poisson spike trains: at each step a neuron fires with probability ``rates * dt``.

    The mean rate is exact. Intervals are geometric, the discrete form of the exponential intervals
    of a Poisson process.

    Args:
        rates: firing rates in Hz, not negative, [B, ...]; without ``num_steps`` [T, B, ...], a rate
            for each step.
        dt: duration of one step in seconds.
        num_steps: T. Default: the first axis of ``rates`` is time.
        generator: source of randomness; default is torch's global one.

    Returns:
        Spikes 0 or 1, [T, B, ...], in the dtype and on the device of ``rates``.

    Raises:
        TypeError: ``rates`` is not floating point, or ``num_steps`` not an integer.
        ValueError: a rate is negative, NaN or above 1 / dt; ``dt`` is not positive.

    >>> spk = poisson(torch.tensor([0.0, 1000.0]), dt=1e-3, num_steps=4)
    >>> spk.sum(0)
    tensor([0., 4.])
    """
    real("dt", dt, 0.0, open_low=True, example=1e-3)
    random_source(generator, tensor("rates", rates))
    in_range(
        "rates",
        intensities(rates, "rates"),
        0,
        1 / dt,
        why=f"at most one spike per step of dt={dt} s: smaller dt",
    )
    probability = rates * dt
    if num_steps is not None:
        probability = probability.expand(step_count(num_steps), *rates.shape)
    return rate_conv(probability, generator=generator)
