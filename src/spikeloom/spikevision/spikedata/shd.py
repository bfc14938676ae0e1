"""Spiking Heidelberg Digits: spoken digits as spikes of an artificial cochlea."""

import gzip
import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...core.checks import require
from ...data.events import EVENT, to_frames
from ..dataset import EventDataset
from ..download import Archive, find_or_fetch
from ..store import Recording

__all__ = ["SHD"]

PAGE = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
FOLDER = "https://zenkelab.org/datasets/"
ARCHIVES = {
    "train": Archive("shd_train.h5.zip", f"{FOLDER}shd_train.h5.zip", "f3252aeb598ac776c1b526422d90eecb", PAGE),
    "test": Archive("shd_test.h5.zip", f"{FOLDER}shd_test.h5.zip", "1503a5064faa34311c398fb0a1ed0a6f", PAGE),
}
UNITS = 700


class SHD(EventDataset):
    """Spiking Heidelberg Digits: 8156 training and 2264 test recordings of digits in English and German.

    ``root`` holds ``shd_train.h5`` and ``shd_test.h5``, packed as ``.zip`` or ``.gz`` or not. The cache is
    ``shd_train.hdf5`` or ``shd_test.hdf5``.

    Where snnTorch differs: it reads num_steps x 1 ms whatever ``dt`` says, computes times in the float16 of the files,
    which overflows, replaces the user's ``target_transform``, and its version 1.0.0 writes a cache without events.

    Args:
        root: folder of the original files, and of the cache.
        train: the training part instead of the test part.
        transform: takes the place of frames: gets the spikes of a recording as an integer array [n, 2] with the columns
            time (microseconds from the first spike) and unit.
        target_transform: applied to the class.
        download_and_create: whether files may be downloaded and the cache be written if there is none.
        num_steps: number of time steps T.
        ds: number of neighbouring units that become one; a divisor of 700.
        dt: duration of a step in microseconds; spikes after num_steps x dt are left out.

    Returns:
        Items are counts [T, 700 / ds], float32, in reversed order of the units (as in snnTorch: column 0 is unit 699),
        and the class: 0 to 9 are the digits in English, 10 to 19 those in German.

    Raises:
        ConnectionError: files are absent and cannot be downloaded.
        FileNotFoundError: there is no cache and ``download_and_create`` is False.
        ImportError: h5py is not installed.
        ValueError: a file is damaged, or a number is out of range.

    Source: Cramer, Stradmann, Schemmel & Zenke (2020), IEEE Transactions on Neural Networks and Learning Systems.

    >>> SHD("data/shd", train=False, download_and_create=False)
    Traceback (most recent call last):
    FileNotFoundError: SHD needs its cache ...shd_test.hdf5, which is absent; ...
    """

    cache_name = "shd"
    classes = tuple(f"{language} {digit}" for language in ("english", "german") for digit in range(10))

    def __init__(
        self,
        root: "str | PathLike[str]",
        train: bool = True,
        transform: Callable[[np.ndarray], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download_and_create: bool = True,
        num_steps: int = 1000,
        ds: int = 1,
        dt: float = 1000,
    ) -> None:
        if ds < 1 or UNITS % ds:
            raise ValueError(f"ds must be a divisor of {UNITS}, got {ds}; write ds=5")
        self.ds = ds
        super().__init__(root, train, transform, target_transform, download_and_create, num_steps, dt)

    def recordings(self) -> Iterator[Recording]:
        h5py = require("h5py", extra="data", purpose="reading SHD")
        with unpacked(self.root, "train" if self.train else "test") as raw, h5py.File(raw, "r") as file:
            times, units, labels = file["spikes/times"], file["spikes/units"], file["labels"]
            for time, unit, label in zip(times, units, labels, strict=True):
                events = np.zeros(len(time), EVENT)
                events["x"], events["p"] = unit, 1
                events["t"] = time.astype(np.float64) * 1e6
                events["t"] -= events["t"].min(initial=np.iinfo(np.int64).max)
                yield Recording(events, int(label))

    def table(self, events: np.ndarray) -> np.ndarray:
        return np.column_stack([events[field].astype(np.int64) for field in "tx"])

    def frames(self, events: np.ndarray) -> Tensor:
        events = events.copy()
        events["x"] //= self.ds
        counts = to_frames(events, (UNITS // self.ds, 1, 1), num_steps=self.num_steps, dt=self.dt, start=0)
        return counts[:, 0, 0].flip(-1)


def unpacked(root: Path, part: str) -> io.BufferedIOBase:
    """The HDF5 file of a part, open for reading, wherever and however it is packed."""
    plain, packed = root / f"shd_{part}.h5", root / f"shd_{part}.h5.gz"
    if plain.is_file():
        return open(plain, "rb")
    if packed.is_file():
        with gzip.open(packed) as file:
            return in_memory(file)
    with zipfile.ZipFile(find_or_fetch(ARCHIVES[part], root)) as archive, archive.open(plain.name) as file:
        return in_memory(file)


def in_memory(file: Any) -> io.BytesIO:
    """A copy that can be read from any place; the files of SHD hold 0.1 to 0.4 GB."""
    copy = io.BytesIO()
    shutil.copyfileobj(file, copy, 1 << 20)
    copy.seek(0)
    return copy
