"""Properties of a call's arguments that the recorder needs."""

from typing import Any

import torch
from torch import Tensor, nn

from .deferred import Deferred
from .tables import INPLACE_FLAG

__all__ = [
    "CONSTANTS",
    "FEW",
    "check_bounds",
    "expectation",
    "is_predictable",
    "takes_inplace",
    "worth_recording",
]

FEW = 64  # elements. An operation that reads no recorded value and only tensors up to this size is
# computed immediately: for a counter or a schedule that costs less than recording

CONSTANTS = {int, float, bool, str, type(None), torch.dtype, torch.device}
CONSTANTS |= {torch.memory_format, torch.layout, type(...)}


def worth_recording(value: Any) -> bool:
    """Whether an operation on this tensor alone is recorded as part of a layer."""
    if type(value) is nn.Parameter:
        return True
    return isinstance(value, Tensor) and value.numel() > FEW


def is_predictable(value: Any) -> bool:
    """Whether an argument can be compared with that of the previous step without reading values."""
    if type(value) is tuple:
        return all(type(item) is int for item in value)
    return type(value) in (Deferred, nn.Parameter, int, float, bool, type(None))


def expectation(value: Any) -> tuple[Any, Any]:
    """Return what the argument should be at the next step, and the key of a recorded one.

    The second entry is None for a number, which may also be an equal one.
    """
    if type(value) is Deferred:
        return Deferred, value.key
    return value, None if type(value) in (int, float) else ""


def takes_inplace(function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call of a function such as ``relu`` overwrites its argument."""
    if function not in INPLACE_FLAG:
        return False
    return bool(kwargs.get("inplace")) or (len(args) > 1 and args[-1] is True)


def check_bounds(x: Tensor, items: tuple[Any, ...]) -> None:
    """Raise for an index out of bounds as torch does, since the indexing is only recorded."""
    for axis, item in enumerate(items):
        if item is None or item is ...:
            return  # the following axes cannot be numbered here; torch checks them
        if type(item) is int and not -x.shape[axis] <= item < x.shape[axis]:
            raise IndexError(
                f"index {item} is out of bounds for dimension {axis} with size {x.shape[axis]}"
            )
