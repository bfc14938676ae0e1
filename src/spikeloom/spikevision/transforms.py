"""Transforms of event lists and targets, by snnTorch's names.

An event list is an integer array [n, 4] with the columns time, polarity, x, y, or [n, 2] with time and unit. The data
sets need none of these; they are for a user's own ``transform``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


@dataclass(frozen=True)
class Compose:
    """Apply transforms one after the other.

    >>> Compose([abs, str])(-3)
    '3'
    """

    transforms: Sequence[Callable[[Any], Any]]

    def __call__(self, value: Any) -> Any:
        for transform in self.transforms:
            value = transform(value)
        return value


@dataclass(frozen=True)
class CropDims:
    """Keep events whose columns ``dims`` lie in [low, high), and count from low.

    >>> import numpy as np
    >>> CropDims([1], [3], dims=[2])(np.array([[0, 1, 0, 5], [9, 1, 2, 5]])).tolist()
    [[9, 1, 1, 5]]
    """

    low_crop: Sequence[int]
    high_crop: Sequence[int]
    dims: Sequence[int]

    def __call__(self, events: np.ndarray) -> np.ndarray:
        inside = np.ones(len(events), dtype=bool)
        shift = np.zeros(events.shape[1], dtype=events.dtype)
        for low, high, dim in zip(self.low_crop, self.high_crop, self.dims, strict=True):
            inside &= (events[:, dim] >= low) & (events[:, dim] < high)
            shift[dim] = low
        return events[inside] - shift


@dataclass(frozen=True)
class Downsample:
    """Divide each column by its factor and round down: time into steps, pixels into coarser ones.

    >>> import numpy as np
    >>> Downsample([1000, 1, 2, 2])(np.array([[2500, 1, 5, 4]])).tolist()
    [[2, 1, 2, 2]]
    """

    factor: int | Sequence[int]

    def __call__(self, events: np.ndarray) -> np.ndarray:
        return events // np.asarray(self.factor)


@dataclass(frozen=True)
class ToCountFrame:
    """Count the events of each step (column 0) and address (the other columns): [n, 1 + k] to [T, *size].

    Events at T or later are left out. Raises ValueError for an address outside ``size``. Counts are int32; snnTorch's
    int8 wraps at 127.

    >>> import numpy as np
    >>> ToCountFrame(2, [3])(np.array([[0, 2], [1, 0], [1, 0], [7, 1]])).tolist()
    [[0, 0, 1], [2, 0, 0]]
    """

    T: int = 500
    size: Sequence[int] = (2, 32, 32)

    def __call__(self, events: np.ndarray) -> np.ndarray:
        shape = (self.T, *self.size)
        kept = events[(events[:, 0] >= 0) & (events[:, 0] < self.T), : len(shape)]
        if kept.shape[1] != len(shape) or (kept < 0).any() or (kept >= shape).any():
            raise ValueError(
                f"addresses must lie inside size={list(self.size)}, got up to {kept.max(0, initial=0)[1:].tolist()}; "
                "crop or downsample first"
            )
        frames = np.zeros(shape, dtype=np.int32)
        np.add.at(frames, tuple(kept.T), 1)
        return frames


@dataclass(frozen=True)
class ToTensor:
    """Array to float32 tensor on ``device``.

    >>> import numpy as np
    >>> ToTensor()(np.array([1, 2]))
    tensor([1., 2.])
    """

    device: str = "cpu"

    def __call__(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)


@dataclass(frozen=True)
class dvs_permute:
    """Exchange the last two axes: frames indexed by x, y become images with rows y and columns x.

    >>> dvs_permute()(torch.zeros(5, 2, 32, 30)).shape
    torch.Size([5, 2, 30, 32])
    """

    def __call__(self, frames: Tensor) -> Tensor:
        return frames.transpose(-1, -2)


@dataclass(frozen=True)
class hflip:
    """Reverse the last axis.

    >>> hflip()(torch.tensor([1, 2, 3]))
    tensor([3, 2, 1])
    """

    def __call__(self, frames: Tensor) -> Tensor:
        return frames.flip(-1)


@dataclass(frozen=True)
class Repeat:
    """Repeat a target for every step: number to [n, 1], [C] to [n, C].

    >>> Repeat(3)(7).tolist()
    [[7], [7], [7]]
    """

    n_repeat: int

    def __call__(self, target: Any) -> np.ndarray:
        return np.tile(np.atleast_1d(np.asarray(target)), (self.n_repeat, 1))


@dataclass(frozen=True)
class toOneHot:
    """Classes [n, 1] to ones in their columns, [n, num_classes].

    >>> toOneHot(3)(Repeat(2)(1)).tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """

    num_classes: int

    def __call__(self, integers: Any) -> Tensor:
        classes = torch.as_tensor(np.asarray(integers), dtype=torch.int64).flatten()
        return torch.nn.functional.one_hot(classes, self.num_classes).float()
