"""Transforms of event lists and targets, under snnTorch's names.

An event list is an integer array [n, 4] with the columns time, polarity, x, y, or [n, 2] with time
and unit. The data sets need none of these; they are for a user's own ``transform``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import tensor, whole

__all__ = [
    "Compose",
    "CropDims",
    "Downsample",
    "Repeat",
    "ToCountFrame",
    "ToTensor",
    "dvs_permute",
    "hflip",
    "toOneHot",
]


def _table(events: Any) -> np.ndarray:
    """An event list [n, k], k > 0, of finite numbers."""
    if not isinstance(events, np.ndarray) or events.ndim != 2 or events.dtype.kind not in "iuf":
        raise TypeError(
            f"events must be an array [n, columns] of numbers, got {type(events).__name__} of "
            f"shape {np.shape(events)}; a data set passes one to its transform"
        )
    if not events.shape[1] or (events.dtype.kind == "f" and not np.isfinite(events).all()):
        raise ValueError(f"events must have columns of finite numbers, got shape {events.shape}")
    return events


def _whole_numbers(name: str, values: Any, least: int = -(2**63)) -> list[int]:
    """A sequence of whole numbers."""
    if (
        not isinstance(values, (Sequence, np.ndarray))
        or isinstance(values, (str, bytes))
        or not np.ndim(values)
    ):
        raise TypeError(
            f"{name} must be a list of whole numbers, got {values!r}; write {name}=[1, 1]"
        )
    return [whole(name, value, least) for value in values]


@dataclass(frozen=True)
class Compose:
    """Applies transforms one after the other.

    >>> Compose([abs, str])(-3)
    '3'
    """

    transforms: Sequence[Callable[[Any], Any]]

    def __post_init__(self) -> None:
        steps = self.transforms
        if (
            not isinstance(steps, Sequence)
            or isinstance(steps, str)
            or not all(map(callable, steps))
        ):
            raise TypeError(
                f"transforms must be a list of functions, got {steps!r}; write Compose([first, "
                "second])"
            )

    def __call__(self, value: Any) -> Any:
        for transform in self.transforms:
            value = transform(value)
        return value


@dataclass(frozen=True)
class CropDims:
    """Selects events whose columns ``dims`` are in [low, high), and subtracts low.

    >>> import numpy as np
    >>> CropDims([1], [3], dims=[2])(np.array([[0, 1, 0, 5], [9, 1, 2, 5]])).tolist()
    [[9, 1, 1, 5]]
    """

    low_crop: Sequence[int]
    high_crop: Sequence[int]
    dims: Sequence[int]

    def __post_init__(self) -> None:
        lengths = {
            len(_whole_numbers(name, getattr(self, name)))
            for name in ("low_crop", "high_crop", "dims")
        }
        if len(lengths) > 1:
            raise ValueError(
                f"low_crop, high_crop and dims must have one length, got {self.low_crop}, "
                f"{self.high_crop} and {self.dims}; write one number for each column"
            )

    def __call__(self, events: np.ndarray) -> np.ndarray:
        _table(events)
        columns = events.shape[1]
        if any(not -columns <= dim < columns for dim in self.dims):
            raise ValueError(
                f"dims must name columns of {columns}, got {self.dims}; write dims=[2, 3] for x "
                "and y"
            )
        inside = np.ones(len(events), dtype=bool)
        shift = np.zeros(events.shape[1], dtype=events.dtype)
        for low, high, dim in zip(self.low_crop, self.high_crop, self.dims, strict=True):
            inside &= (events[:, dim] >= low) & (events[:, dim] < high)
            shift[dim] = low
        return events[inside] - shift


@dataclass(frozen=True)
class Downsample:
    """Divides each column by its factor and rounds down.

    >>> import numpy as np
    >>> Downsample([1000, 1, 2, 2])(np.array([[2500, 1, 5, 4]])).tolist()
    [[2, 1, 2, 2]]
    """

    factor: int | Sequence[int]

    def __post_init__(self) -> None:
        if isinstance(self.factor, Tensor):
            object.__setattr__(self, "factor", tensor("factor", self.factor).tolist())
        factors = self.factor if isinstance(self.factor, (Sequence, np.ndarray)) else [self.factor]
        _whole_numbers("factor", factors, 1)

    def __call__(self, events: np.ndarray) -> np.ndarray:
        factor = np.asarray(self.factor)
        if factor.ndim and factor.shape != (_table(events).shape[1],):
            raise ValueError(
                f"factor must have one number for each of the {events.shape[1]} columns, got "
                f"{self.factor}; write 1 for a column that does not change"
            )
        return _table(events) // factor


@dataclass(frozen=True)
class ToCountFrame:
    """Counts the events of each step (column 0) and address (the other columns).

    It maps [n, 1 + k] to [T, *size] and drops events at T or later. Counts are int32; snnTorch's
    int8 wraps at 127. An address outside ``size`` raises ValueError.

    >>> import numpy as np
    >>> ToCountFrame(2, [3])(np.array([[0, 2], [1, 0], [1, 0], [7, 1]])).tolist()
    [[0, 0, 1], [2, 0, 0]]
    """

    T: int = 500
    size: Sequence[int] = (2, 32, 32)

    def __post_init__(self) -> None:
        object.__setattr__(self, "T", whole("T", self.T, 1))
        _whole_numbers("size", self.size, 1)

    def __call__(self, events: np.ndarray) -> np.ndarray:
        shape = (self.T, *self.size)
        if _table(events).dtype.kind not in "iu":
            raise TypeError(
                f"events must be whole numbers, got {events.dtype}; write events.astype(int)"
            )
        index = events[(events[:, 0] >= 0) & (events[:, 0] < self.T), : len(shape)]
        if index.shape[1] != len(shape) or (index < 0).any() or (index >= shape).any():
            raise ValueError(
                f"addresses must be inside size={list(self.size)}, got up to "
                f"{index.max(0, initial=0)[1:].tolist()}; crop or downsample first"
            )
        try:
            frames = np.zeros(shape, dtype=np.int32)
        except (MemoryError, ValueError) as error:
            raise ValueError(
                f"frames of shape {shape} are larger than memory; write a smaller T or size"
            ) from error
        np.add.at(frames, tuple(index.T), 1)
        return frames


@dataclass(frozen=True)
class ToTensor:
    """Converts an array to a float32 tensor on ``device``.

    >>> import numpy as np
    >>> ToTensor()(np.array([1, 2]))
    tensor([1., 2.])
    """

    device: str = "cpu"

    def __post_init__(self) -> None:
        try:
            torch.device(self.device)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"device must name a device of torch, got {self.device!r}; write device='cpu'"
            ) from error

    def __call__(self, array: np.ndarray) -> Tensor:
        try:
            return torch.as_tensor(array, dtype=torch.float32, device=self.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"array must hold numbers, got {type(array).__name__}: {error}; write "
                "array.astype(float)"
            ) from error


@dataclass(frozen=True)
class dvs_permute:
    """Transposes the last two axes: frames [..., x, y] become images [..., y, x].

    >>> dvs_permute()(torch.zeros(5, 2, 32, 30)).shape
    torch.Size([5, 2, 30, 32])
    """

    def __call__(self, frames: Tensor) -> Tensor:
        if tensor("frames", frames).dim() < 2:
            raise ValueError(
                f"frames must have the axes [..., x, y], got {tuple(frames.shape)}; do not flatten "
                "them"
            )
        return frames.transpose(-1, -2)


@dataclass(frozen=True)
class hflip:
    """Reverses the last axis.

    >>> hflip()(torch.tensor([1, 2, 3]))
    tensor([3, 2, 1])
    """

    def __call__(self, frames: Tensor) -> Tensor:
        if not tensor("frames", frames).dim():
            raise ValueError(
                "frames must have an axis to reverse, got a tensor of shape (); pass frames [..., "
                "W]"
            )
        return frames.flip(-1)


@dataclass(frozen=True)
class Repeat:
    """Repeats a target for every step: number to [n, 1], [C] to [n, C].

    >>> Repeat(3)(7).tolist()
    [[7], [7], [7]]
    """

    n_repeat: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_repeat", whole("n_repeat", self.n_repeat, 0, 2**24))

    def __call__(self, target: Any) -> np.ndarray:
        if isinstance(target, Tensor):
            target = tensor("target", target).detach().cpu().tolist()  # NumPy has no bfloat16
        values = np.atleast_1d(np.asarray(target))
        if values.ndim > 1 or values.dtype.kind not in "biuf":
            raise TypeError(
                f"target must be a number or a vector, got {values.dtype} of shape {values.shape}"
            )
        return np.tile(values, (self.n_repeat, 1))


@dataclass(frozen=True)
class toOneHot:
    """Converts classes [n, 1] to one-hot rows [n, num_classes].

    >>> toOneHot(3)(Repeat(2)(1)).tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """

    num_classes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_classes", whole("num_classes", self.num_classes, 1, 2**20))

    def __call__(self, integers: Any) -> Tensor:
        if isinstance(integers, Tensor):
            integers = tensor("classes", integers).detach().cpu().tolist()
        values = np.asarray(integers)
        inside = values.dtype.kind in "biuf" and bool(
            ((values >= 0) & (values < self.num_classes) & (values == np.floor(values))).all()
        )
        if not inside:
            raise ValueError(
                f"classes must be whole numbers in [0, {self.num_classes - 1}], got {values.dtype} "
                f"of shape {values.shape}; write a larger num_classes"
            )
        classes = torch.as_tensor(values, dtype=torch.int64).flatten()
        return torch.nn.functional.one_hot(classes, self.num_classes).float()
