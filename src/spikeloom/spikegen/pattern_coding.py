"""Codes that represent a number by the pattern of several spikes: binary phases, and bursts.

Both are deterministic: a batch ``[B, ...]`` in [0, 1] becomes spikes ``[T, B, ...]`` in the dtype
of the input.
"""

import torch
from torch import Tensor

from ..core.checks import in_range
from ..core.numbers import flag, whole
from .input_checks import intensities, step_count

__all__ = ["burst", "phase"]


def phase(data: Tensor, num_steps: int, period: int = 8, weighted: bool = False) -> Tensor:
    """Binary digits of the input, most significant first, repeated every ``period`` steps.

    Step t has the digit of weight ``2^-(1 + t mod period)``. The weighted spikes of one period sum
    to the input, truncated to a multiple of ``2^-period``. The input 1 is encoded as the largest
    such multiple below it.

    Args:
        data: intensities in [0, 1], [B, ...].
        num_steps: T.
        period: number of digits, 1 to 24.
        weighted: whether a spike carries the weight of its step instead of 1.

    Returns:
        [T, B, ...], 0 or 1, or 0 and the weight.

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: intensities outside [0, 1], no steps, another ``period``.

    After Kim, Kim, Huh, Lee & Choi (2018), Neurocomputing 311, 373-386.

    >>> phase(torch.tensor([0.625, 1.0]), num_steps=3, period=3)
    tensor([[1., 1.],
            [0., 1.],
            [1., 1.]])
    """
    steps = _positive(num_steps, "phase")
    whole("period", period, 1, 24)
    flag("weighted", weighted)
    in_range("data", intensities(data), 0, 1, why="scale it first, images by / 255")
    levels = 2**period
    number = (data.double() * levels).floor().clamp_max(levels - 1).long()
    position = torch.arange(steps, device=data.device) % period
    position = position.reshape(-1, *[1] * data.dim())
    digits = (number >> (period - 1 - position) & 1).to(data.dtype)
    return digits * (0.5 ** (1 + position)).to(data.dtype) if weighted else digits


def burst(
    data: Tensor,
    num_steps: int,
    max_spikes: int = 5,
    min_interval: int = 2,
    max_interval: int | None = None,
) -> Tensor:
    """One burst from step 0: larger inputs fire more spikes at shorter intervals.

    An input P fires ``ceil(max_spikes P)`` spikes at intervals of ``ceil(min_interval +
    (max_interval - min_interval) (1 - P))`` steps.

    Args:
        data: intensities in [0, 1], [B, ...]; 0 stays silent.
        num_steps: T.
        max_spikes: number of spikes of an input of 1.
        min_interval: interval of an input of 1, in steps.
        max_interval: longest interval, in steps. Default: the longest with which every burst ends
            before T.

    Returns:
        Spikes 0 or 1, [T, B, ...].

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: intensities outside [0, 1], no steps, or bursts longer than T.

    After Guo, Fouda, Eltawil & Salama (2021), Frontiers in Neuroscience 15, 638474.

    >>> burst(torch.tensor([1.0, 0.5]), num_steps=7, max_spikes=3).T
    tensor([[1., 0., 1., 0., 1., 0., 0.],
            [1., 0., 0., 1., 0., 0., 0.]])
    """
    steps = _positive(num_steps, "burst")
    in_range("data", intensities(data), 0, 1, why="scale it first, images by / 255")
    whole("max_spikes", max_spikes, 1)
    whole("min_interval", min_interval, 1)
    if max_interval is not None:
        whole("max_interval", max_interval, 1, 2**31)
    longest = (steps - 1) // max(max_spikes - 1, 1) if max_interval is None else max_interval
    if longest < min_interval or (max_spikes - 1) * min_interval >= steps:
        raise ValueError(
            f"max_interval must not be below min_interval={min_interval}, got {longest} "
            f"(num_steps={steps}, max_spikes={max_spikes}); write "
            f"num_steps={(max_spikes - 1) * min_interval + 1} or more"
        )
    spikes = (max_spikes * data).ceil()
    interval = (min_interval + (longest - min_interval) * (1 - data)).ceil()
    last = int(((spikes - 1) * interval).max()) if data.numel() else 0
    if last >= steps:
        raise ValueError(
            f"bursts must end before num_steps={steps}, got one ending at step {last}; write "
            f"num_steps={last + 1}"
        )
    step = torch.arange(steps, device=data.device).reshape(-1, *[1] * data.dim())
    return ((step % interval == 0) & (step < spikes * interval)).to(data.dtype)


def _positive(num_steps: int, who: str) -> int:
    steps = step_count(num_steps)
    if not steps:
        raise ValueError(f"{who} needs num_steps > 0, got {num_steps}; write num_steps=100")
    return steps
