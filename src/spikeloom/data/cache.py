"""A cache on disk for samples that are expensive to make."""

import json
import os
from collections.abc import Callable, Sized
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..core.numbers import path_of
from .damage import damage_named
from .npz import read_npz

__all__ = ["DiskCache"]


class DiskCache(Dataset[Any]):
    """A data set that computes each sample once and then reads it from a folder.

    Each sample is one compressed npz file, written under another name and then renamed, so that
    loader processes can share the folder and an interrupted run leaves no incomplete file.

    Args:
        dataset: pairs of a recording (tensor or array, also structured) and a target (number,
            tensor or array).
        folder: folder of the samples, created if missing.
        key: a description of the samples, such as the arguments of their transform. A folder with
            another key or another number of samples is refused.
        transform: applied to the recording after reading; for random changes, which must not be
            cached.

    Raises:
        ValueError: the folder belongs to another key or data set, or a file in it is damaged.
        TypeError: a sample is not such a pair.

    >>> class Slow(torch.utils.data.Dataset):
    ...     def __len__(self):
    ...         return 2
    ...     def __getitem__(self, index):
    ...         print("making", index)
    ...         return torch.full((3,), float(index)), index
    >>> cached = DiskCache(Slow(), "samples", key="v1")
    >>> cached[1]
    making 1
    (tensor([1., 1., 1.]), 1)
    >>> cached[1]
    (tensor([1., 1., 1.]), 1)
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        folder: "str | PathLike[str]",
        *,
        key: str = "",
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if not isinstance(dataset, Sized):
            raise TypeError(
                f"dataset must have a length, got {type(dataset).__name__}; give it a __len__"
            )
        self.dataset = dataset
        self.folder = path_of("folder", folder)
        self.transform = transform
        self._length = len(dataset)
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = {"key": key, "samples": self._length}
        note = self.folder / "cache.json"
        if not note.exists():
            replace(note, lambda file: file.write(json.dumps(wanted).encode()))
        with damage_named(note, "the description of a cache, in JSON", "delete the folder"):
            found = json.loads(note.read_text(encoding="utf-8"))
        if found != wanted:
            raise ValueError(
                f"{self.folder} must hold samples made with {wanted}, got {found}; use another "
                "folder or delete it"
            )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not -self._length <= index < self._length:
            raise IndexError(f"index must be in [{-self._length}, {self._length - 1}], got {index}")
        index %= self._length
        path = self.folder / f"{index}.npz"
        if not path.exists():
            store(path, self.dataset[index])
        recording, target = load(path)
        return (self.transform(recording) if self.transform else recording), target


def replace(path: Path, write: Callable[[Any], Any]) -> None:
    """Writes a file so that it is either absent or complete."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def store(path: Path, sample: Any) -> None:
    """Writes a sample, and whether each part is a tensor, an array or a number."""
    if not isinstance(sample, tuple) or len(sample) != 2:
        raise TypeError(
            f"a sample must be a pair (recording, target), got {type(sample).__name__}; wrap the "
            "data set"
        )
    kinds = []
    arrays = []
    for value in sample:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError(
                "recording and target must be tensors, arrays or numbers, got "
                f"{type(value).__name__}"
            )
        if isinstance(value, Tensor):
            kinds.append("tensor")
        else:
            kinds.append("array" if isinstance(value, np.ndarray) else "number")
        arrays.append(array)
    replace(
        path,
        lambda file: np.savez_compressed(
            file, recording=arrays[0], target=arrays[1], kinds=np.array(kinds)
        ),
    )


def load(path: Path) -> tuple[Any, Any]:
    """Reads a sample in the types in which it was stored."""
    arrays = read_npz(path, ("recording", "target", "kinds"))
    kinds = arrays["kinds"].tolist()
    if not isinstance(kinds, list) or len(kinds) != 2:
        raise ValueError(
            f"{path} must hold two kinds, got {kinds!r}; delete it, and it is written again"
        )
    with damage_named(path, "a sample of a cache", "delete it, and it is written again"):
        recording = _restored(arrays["recording"], kinds[0])
        target = _restored(arrays["target"], kinds[1])
    return recording, target


def _restored(array: np.ndarray, kind: str) -> Any:
    """Converts an array to the stored kind of value."""
    if kind == "tensor":
        return torch.from_numpy(array)
    if kind == "array":
        return array
    if kind == "number":
        return array.item()
    raise ValueError(f"unknown kind {kind!r}")
