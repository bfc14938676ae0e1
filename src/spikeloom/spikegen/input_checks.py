"""Input checks that several encoders share."""

import warnings
from typing import Any

import torch
from torch import Tensor

from ..core.checks import transformed
from ..core.numbers import tensor

__all__ = ["intensities", "saturating", "step_count", "unseen"]


MOST_STEPS = 2**31 - 1
FAR = 4.0  # above any noisy or standardised intensity, below the grey values of any image
MUCH = 0.25  # of standardised data half is negative, of noise around [0, 1] a small part
BELOW = -0.4  # standardised images of MNIST begin at -0.42, others lower


def intensities(data: Any, name: str = "data", *, infinite: bool = False) -> Tensor:
    """Returns ``data`` if it is a floating-point tensor without NaN and infinity.

    Args:
        data: the argument of an encoder.
        name: its name in the message.
        infinite: whether infinity is allowed, as a time that means "never".

    Raises:
        TypeError: not a floating-point tensor; spikes have the dtype of the input, and grey values
            of 0 to 255 would all mean "always fire".
        ValueError: it holds NaN or infinity.

    >>> intensities(torch.tensor([0.5]))
    tensor([0.5000])
    """
    tensor(name, data)
    if not data.is_floating_point():
        scaled = (
            f"{name} / 255"
            if data.dtype == torch.uint8
            else f"{name}.float(), for images {name} / 255"
        )
        raise TypeError(
            f"{name} must be floating point, got {data.dtype} of shape {tuple(data.shape)}; write "
            f"{scaled}"
        )
    if unseen(data):
        return data
    bad = data.isnan() if infinite else ~data.isfinite()
    if bool(bad.any()):
        kind = "NaN" if bool(data.isnan().any()) else "infinity"
        raise ValueError(
            f"{name} must not hold {kind}, got {int(bad.sum())} of {data.numel()} values; clean it "
            f"first, e.g. torch.nan_to_num({name})"
        )
    return data


def unseen(data: Tensor) -> bool:
    """Whether the values of a tensor cannot be read without breaking the graph of a compiler."""
    return data.device.type == "meta" or torch.compiler.is_compiling() or transformed()


def saturating(data: Tensor, probability: Tensor) -> None:
    """Refuses intensities that are far from [0, 1], such as images of 0 to 255 in floating point.

    Args:
        data: intensities before gain and offset.
        probability: intensities after gain and offset; a gain may scale the data into [0, 1].

    Warns:
        UserWarning: a quarter or more of the intensities are negative, as of standardised data.

    Raises:
        ValueError: both exceed [-4, 4]. Smaller excess saturates, such as noise or the overshoot
            of resizing.

    >>> saturating(torch.tensor([1.2]), torch.tensor([1.2]))
    """
    if unseen(data) or not data.numel():
        return
    for given in (data, probability):
        if bool(given.min() >= -FAR) and bool(given.max() <= FAR):
            _warn_of_negative(probability)
            return
    low = data.min().item()
    high = data.max().item()
    raise ValueError(
        f"data must hold intensities in [0, 1], got {low:g} to {high:g}, of which all above 1 "
        "would fire at every step; write data / 255 for images of 0 to 255, gain= to scale, or "
        "data.clamp(0, 1) to saturate"
    )


def _warn_of_negative(probability: Tensor) -> None:
    negative = int((probability < 0).sum())
    if negative > MUCH * probability.numel() and bool(probability.min() < BELOW):
        warnings.warn(
            f"{negative} of {probability.numel()} intensities are below 0 and never spike; scale "
            "standardised data into [0, 1], e.g. (x - x.min()) / (x.max() - x.min())",
            UserWarning,
            stacklevel=4,
        )


def step_count(value: Any, name: str = "num_steps") -> int:
    """Returns a number of time steps as an integer; ``False`` and ``None`` (not given) become 0.

    Raises:
        TypeError: ``value`` is not an integer.
        ValueError: it is negative.

    >>> step_count(False), step_count(5)
    (0, 5)
    """
    if value is None or value is False:
        return 0
    try:
        if value is True:
            raise TypeError
        steps = value.__index__()
    except (AttributeError, TypeError, RuntimeError):
        raise TypeError(f"{name} must be an integer, got {value!r}; write int({name})") from None
    if steps < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}; write {name}=0 or more")
    if steps > MOST_STEPS:
        raise ValueError(f"{name} must be at most {MOST_STEPS}, got {value!r}; write fewer steps")
    return steps
