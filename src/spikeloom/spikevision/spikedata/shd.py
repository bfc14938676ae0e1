"""Spiking Heidelberg Digits: spoken digits as spikes of a cochlea model."""

import gzip
import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...core.checks import require
from ...core.numbers import whole
from ...data.damage import damage_named
from ...data.events import EVENT, to_frames
from ...data.series import Source
from ..dataset import EventDataset
from ..download import Archive, find_or_fetch
from ..store import Recording

__all__ = ["SHD"]

PAGE = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
FOLDER = "https://zenkelab.org/datasets/"
ARCHIVES = {
    "train": Archive(
        "shd_train.h5.zip", f"{FOLDER}shd_train.h5.zip", "f3252aeb598ac776c1b526422d90eecb", PAGE
    ),
    "test": Archive(
        "shd_test.h5.zip", f"{FOLDER}shd_test.h5.zip", "1503a5064faa34311c398fb0a1ed0a6f", PAGE
    ),
}
UNITS = 700
LONGEST = 60.0  # seconds; the longest recording takes 1.4
RULE = "a whole file of SHD"
REMEDY = "get it again"


class SHD(EventDataset):
    """Spiking Heidelberg Digits: 8156 training and 2264 test recordings in English and German.

    ``root`` holds ``shd_train.h5`` and ``shd_test.h5``, uncompressed or as ``.zip`` or ``.gz``. The
    cache is ``shd_train.hdf5`` or ``shd_test.hdf5``.

    Differences from snnTorch: it reads num_steps x 1 ms regardless of ``dt``, computes times in the
    float16 of the files, which overflows, replaces the user's ``target_transform``, and its version
    1.0.0 writes a cache without events.

    Args:
        root: folder of the original files, and of the cache.
        train: whether to use the training part instead of the test part.
        transform: replaces the conversion to counts; it receives the spikes of a recording as an
            integer array [n, 2] with the columns time (microseconds from the first spike) and unit.
        target_transform: applied to the class.
        download_and_create: whether missing files may be downloaded and a missing cache written.
        num_steps: number of time steps T.
        ds: number of neighbouring units that are merged into one; a divisor of 700.
        dt: duration of a step in microseconds; spikes after num_steps x dt are dropped.

    Returns:
        Items are counts [T, 700 / ds], float32, in reversed order of the units (as in snnTorch:
        column 0 is unit 699), and the class: 0 to 9 are the digits in English, 10 to 19 those in
        German.

    Raises:
        ConnectionError: files are missing and cannot be downloaded.
        FileNotFoundError: there is no cache and ``download_and_create`` is False.
        ImportError: h5py is not installed.
        ValueError: a file is damaged, or a number is out of range.

    Source: Cramer, Stradmann, Schemmel & Zenke (2020), IEEE Transactions on Neural Networks and
    Learning Systems.

    >>> SHD("data/shd", train=False, download_and_create=False)
    Traceback (most recent call last):
    FileNotFoundError: SHD needs its cache ...shd_test.hdf5, which is absent; ...
    """

    cache_name = "shd"
    classes = tuple(
        f"{language} {digit}" for language in ("english", "german") for digit in range(10)
    )
    source = Source(
        "Spiking Heidelberg Digits",
        "CC BY 4.0",
        "Cramer, Stradmann, Schemmel & Zenke (2020), IEEE Transactions on Neural Networks and "
        "Learning Systems",
        PAGE,
    )

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
        ds = whole("ds", ds)
        if ds < 1 or UNITS % ds:
            raise ValueError(f"ds must be a divisor of {UNITS}, got {ds}; write ds=5")
        self.ds = ds
        super().__init__(
            root, train, transform, target_transform, download_and_create, num_steps, dt
        )

    def recordings(self) -> Iterator[Recording]:
        yield from raw_recordings(self.root, "train" if self.train else "test")

    def table(self, events: np.ndarray) -> np.ndarray:
        return np.column_stack([events[field].astype(np.int64) for field in "tx"])

    def frames(self, events: np.ndarray) -> Tensor:
        events = events.copy()
        events["x"] //= self.ds
        counts = to_frames(
            events, (UNITS // self.ds, 1, 1), num_steps=self.num_steps, dt=self.dt, start=0
        )
        return counts[:, 0, 0].flip(-1)


def raw_recordings(root: Path, part: str) -> Iterator[Recording]:
    """The recordings of a part, from its HDF5 file.

    Raises:
        ValueError: the file is damaged, or its lists differ in length.
    """
    h5py = require("h5py", extra="data", purpose="reading SHD")
    path = packed_or_not(root, part)
    with ExitStack() as stack:
        with damage_named(path, RULE, REMEDY):
            file = stack.enter_context(h5py.File(stack.enter_context(unpacked(path, part)), "r"))
            times = file["spikes/times"]
            units = file["spikes/units"]
            labels = np.asarray(file["labels"][()])
            shapes = (times.shape, units.shape, labels.shape)
        if len(set(shapes)) > 1 or labels.ndim != 1:
            raise ValueError(
                f"{path} must hold a list of times, a list of units and a label for each "
                f"recording, got shapes {shapes[0]}, {shapes[1]} and {shapes[2]}; {REMEDY}"
            )
        for index in range(len(labels)):
            with damage_named(path, RULE, REMEDY):
                time = np.asarray(times[index])
                unit = np.asarray(units[index])
            yield recording(time, unit, labels[index], f"recording {index} of {path}")


def recording(time: np.ndarray, unit: np.ndarray, label: np.generic, what: str) -> Recording:
    """One recording, its times counted from the first spike.

    Raises:
        ValueError: the lists differ in length, or a time, a unit or the class is out of range.
    """
    if time.ndim != 1 or time.shape != unit.shape or time.dtype.kind not in "fiu":
        raise ValueError(
            f"{what} must have one time for each unit, got times {time.dtype} {time.shape} and "
            f"units {unit.dtype} {unit.shape}; {REMEDY}"
        )
    seconds = time.astype(np.float64)
    if not ((seconds >= 0) & (seconds < LONGEST)).all():
        raise ValueError(
            f"times must be in [0, {LONGEST}) seconds, got {seconds.min()} to {seconds.max()} in "
            f"{what}; {REMEDY}"
        )
    if len(unit) and (unit.dtype.kind not in "iu" or unit.min() < 0 or unit.max() >= UNITS):
        raise ValueError(
            f"units must be whole numbers in [0, {UNITS - 1}], got {unit.dtype} from {unit.min()} "
            f"to {unit.max()} in {what}; {REMEDY}"
        )
    if label.dtype.kind not in "iu" or not 0 <= int(label) < len(SHD.classes):
        raise ValueError(
            f"classes must be in [0, {len(SHD.classes) - 1}], got {label} in {what}; {REMEDY}"
        )
    events = np.zeros(len(time), EVENT)
    events["x"] = unit
    events["p"] = 1
    events["t"] = seconds * 1e6
    events["t"] -= events["t"].min(initial=np.iinfo(np.int64).max)
    return Recording(events, int(label))


def packed_or_not(root: Path, part: str) -> Path:
    """The file of a part: uncompressed, compressed by gzip, or the published zip file."""
    for name in (f"shd_{part}.h5", f"shd_{part}.h5.gz"):
        if (root / name).is_file():
            return root / name
    return find_or_fetch(ARCHIVES[part], root)


def unpacked(path: Path, part: str) -> io.BufferedIOBase:
    """The HDF5 file in ``path``, open for reading."""
    if path.suffix == ".h5":
        return open(path, "rb")
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            return in_memory(file)
    with zipfile.ZipFile(path) as archive, archive.open(f"shd_{part}.h5") as file:
        return in_memory(file)


def in_memory(file: Any) -> io.BytesIO:
    """A seekable copy; the files of SHD have 0.1 to 0.4 GB."""
    copy = io.BytesIO()
    shutil.copyfileobj(file, copy, 1 << 20)
    copy.seek(0)
    return copy
