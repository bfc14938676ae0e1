"""Convolutions in the form that every reader takes: one group and a square kernel.

``nir.read`` infers the shapes of a convolution as if its weight had one group and a square kernel,
and refuses a file in which they differ. Zeros between the groups and around the kernel compute the
same. The metadata says which zeros to cut away again, so that a network comes back as it was.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["original_form", "plain_form"]

Settings = dict[str, Any]


def plain_form(weight: np.ndarray, settings: Settings) -> tuple[np.ndarray, Settings, Settings]:
    """A convolution with one group, and a square kernel where zeros on both sides make it one.

    Args:
        weight: [out, in / groups, ...].
        settings: stride, padding, dilation and groups as torch has them.

    Returns:
        The weight [out, in, ...], its settings, and the record for `original_form`.

    >>> weight, settings, record = plain_form(np.ones((2, 1, 3)), {"groups": 2, "padding": (0,)})
    >>> weight[:, :, 0].tolist(), settings["groups"], record
    ([[1.0, 0.0], [0.0, 1.0]], 1, {'groups': 2})
    """
    record: Settings = {}
    settings = dict(settings)
    groups = settings["groups"]
    if groups > 1:
        weight = _ungrouped(weight, groups)
        settings["groups"] = 1
        record["groups"] = groups
    kernel = weight.shape[2:]
    padding = (0,) * len(kernel) if settings["padding"] == "valid" else settings["padding"]
    missing = [max(kernel) - size for size in kernel]
    if padding != "same" and any(missing) and not any(size % 2 for size in missing):
        half = [size // 2 for size in missing]
        weight = np.pad(weight, [(0, 0), (0, 0), *((size, size) for size in half)])
        steps = zip(padding, half, settings["dilation"], strict=True)
        settings["padding"] = tuple(pad + size * dilation for pad, size, dilation in steps)
        record["kernel"] = np.array(kernel)
    return weight, settings, record


def original_form(
    weight: np.ndarray, settings: Settings, record: Mapping[str, Any]
) -> tuple[np.ndarray, Settings]:
    """The convolution that `plain_form` was given; what was edited since stays as it is.

    >>> weight, settings, record = plain_form(np.ones((2, 1, 3)), {"groups": 2, "padding": (0,)})
    >>> original_form(weight, settings, record)[0].shape
    (2, 1, 3)
    """
    settings = dict(settings)
    kernel = np.atleast_1d(np.asarray(record.get("kernel", weight.shape[2:])))
    missing = np.array(weight.shape[2:]) - kernel if kernel.shape == (weight.ndim - 2,) else None
    if missing is not None and (missing > 0).any() and _fits(weight, settings, missing):
        half = [int(size) // 2 for size in missing]
        inner = tuple(
            slice(cut, size - cut) for cut, size in zip(half, weight.shape[2:], strict=True)
        )
        weight = np.ascontiguousarray(weight[(slice(None), slice(None), *inner)])
        steps = zip(settings["padding"], half, settings["dilation"], strict=True)
        settings["padding"] = tuple(pad - size * dilation for pad, size, dilation in steps)
    groups = np.asarray(record.get("groups", 1))
    if groups.ndim == 0 and groups.dtype.kind in "iu" and settings["groups"] == 1:
        grouped = _grouped(weight, int(groups))
        if grouped is not None:
            settings["groups"] = int(groups)
            weight = grouped
    return weight, settings


def _fits(weight: np.ndarray, settings: Settings, missing: np.ndarray) -> bool:
    """Whether the border is still zero and the padding still wide enough."""
    if isinstance(settings["padding"], str) or (missing < 0).any() or (missing % 2).any():
        return False
    half = missing // 2
    if (half * settings["dilation"] > settings["padding"]).any() or (
        missing >= weight.shape[2:]
    ).any():
        return False
    inner = tuple(slice(cut, size - cut) for cut, size in zip(half, weight.shape[2:], strict=True))
    border = weight.copy()
    border[(slice(None), slice(None), *inner)] = 0
    return not border.any()


def _ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """The weight with zeros from each group to the inputs of the others."""
    out, inputs, *kernel = weight.shape
    each = np.arange(groups)
    dense = np.zeros((groups, out // groups, groups, inputs, *kernel), weight.dtype)
    dense[each, :, each] = weight.reshape(groups, out // groups, inputs, *kernel)
    return dense.reshape(out, groups * inputs, *kernel)


def _grouped(weight: np.ndarray, groups: int) -> np.ndarray | None:
    """The inverse of `_ungrouped`; None where there is a weight between groups."""
    out, inputs, *kernel = weight.shape
    if not 1 < groups <= out or out % groups or inputs % groups:
        return None
    each = np.arange(groups)
    blocks = weight.reshape(groups, out // groups, groups, inputs // groups, *kernel)
    small = blocks[each, :, each].reshape(out, inputs // groups, *kernel)
    return small if np.array_equal(_ungrouped(small, groups), weight) else None
