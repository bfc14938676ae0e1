"""What the encoders accept: the checks that several of them share."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["intensities", "step_count"]


def intensities(data: Any, name: str = "data") -> Tensor:
    """Return ``data`` if it is a floating-point tensor without NaN.

    Args:
        data: what a user wants to encode.
        name: how the message names it.

    Raises:
        TypeError: no tensor, or one that is not floating point; spikes come out in the dtype of the input,
            and grey values of 0 to 255 would all be read as "always fire".
        ValueError: it holds NaN.

    >>> intensities(torch.tensor([0.5]))
    tensor([0.5000])
    """
    if not isinstance(data, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(data).__name__}; write torch.as_tensor({name})")
    if not data.is_floating_point():
        scaled = f"{name} / 255" if data.dtype == torch.uint8 else f"{name}.float(), for images {name} / 255"
        raise TypeError(f"{name} must be floating point, got {data.dtype} of shape {tuple(data.shape)}; write {scaled}")
    if data.device.type == "meta" or torch.compiler.is_compiling():  # a check of values would break the graph
        return data
    if bool(data.isnan().any()):
        raise ValueError(
            f"{name} must not hold NaN, got {int(data.isnan().sum())} of {data.numel()} values; "
            f"clean it first, e.g. torch.nan_to_num({name})"
        )
    return data


def step_count(value: Any, name: str = "num_steps") -> int:
    """Return a number of time steps as an integer; ``False`` and ``None``, "not given", are 0.

    Raises:
        TypeError: ``value`` is not an integer.
        ValueError: it is negative.

    >>> step_count(False), step_count(5)
    (0, 5)
    """
    if value is None:
        return 0
    try:
        steps = value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer, got {value!r}; write int({name})") from None
    if steps < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}; write {name}=0 or more")
    return steps
