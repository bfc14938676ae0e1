"""DVS Gesture: hand and arm gestures of 29 people, recorded by an event camera."""

import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.numbers import flag, random_source, whole
from ...data.events import to_frames
from ...data.series import Source
from ..dataset import EventDataset
from ..download import Archive, find_or_fetch, unpack
from ..readers import read_aedat, read_gesture_labels
from ..store import Recording

__all__ = ["DVSGesture"]

ARCHIVE = Archive(
    "DvsGesture.tar.gz",
    "https://www.dropbox.com/s/cct5kyilhtsliup/DvsGesture.tar.gz?dl=1",
    "8a5c71fb11e24e5ca5b11866ca6c00a1",
    "https://ibm.ent.box.com/s/3hiq58ww1pbbjrinh367ykfdf60xsfm8/folder/50167556794",
)
SENSOR = 128
LAST_TRAINING_USER = 23
NAME = re.compile(r"user(\d+)_(\w+)\.aedat")


class DVSGesture(EventDataset):
    """DVS Gesture: 1176 training and 288 test recordings of 11 gestures.

    Users 1 to 23 are the training part, users 24 to 29 the test part. ``root`` holds
    ``DvsGesture.tar.gz``, or the folder ``DvsGesture`` of its contents. The cache is
    ``dvs_gesture_train.hdf5`` or ``dvs_gesture_test.hdf5``.

    Differences from snnTorch: it reads at most 0.5 s (training) or 1.8 s (test) regardless of
    ``num_steps`` and ``dt``, ignores ``target_transform``, truncates the light "fluorescent_led" to
    "fluorescent", and its version 1.0.0 writes a cache without events.

    Args:
        root: folder of the original files, and of the cache.
        train: whether to use the training part instead of the test part.
        transform: replaces the conversion to frames; it receives the events of a recording as an
            integer array [n, 4] with the columns time (microseconds from the beginning), polarity,
            x, y.
        target_transform: applied to the class.
        download_and_create: whether missing files may be downloaded and a missing cache written.
        num_steps: number of time steps T. Default: 500 for training, 1800 for test.
        dt: duration of a step in microseconds; events after num_steps x dt are dropped.
        ds: downsampling factor, one number or a pair for x and y; a divisor of 128.
        return_meta: whether items also hold the light and the user, as strings.
        time_shuffle: whether to begin at a random time from which the recording, if it is long
            enough, still has num_steps x dt.
        generator: source of the random times.

    Returns:
        Items are frames [T, 2, 128 / ds, 128 / ds] of counts, float32, polarity 0 being OFF, and
        the class from 0; with ``return_meta`` also light and user.

    Raises:
        ConnectionError: files are missing and cannot be downloaded.
        FileNotFoundError: there is no cache and ``download_and_create`` is False.
        ImportError: h5py is not installed.
        ValueError: a file is damaged, or a number is out of range.

    Source: Amir et al. (2017), A Low Power, Fully Event-Based Gesture Recognition System, CVPR.

    >>> DVSGesture("data/dvsgesture", download_and_create=False)
    Traceback (most recent call last):
    FileNotFoundError: DVSGesture needs its cache ...dvs_gesture_train.hdf5, which is absent; ...
    """

    cache_name = "dvs_gesture"
    classes = (
        "hand clapping",
        "right hand wave",
        "left hand wave",
        "right arm clockwise",
        "right arm counter-clockwise",
        "left arm clockwise",
        "left arm counter-clockwise",
        "arm roll",
        "air drums",
        "air guitar",
        "other gestures",
    )
    source = Source(
        "DVS128 Gesture",
        "CC BY 4.0",
        "Amir et al. (2017), A Low Power, Fully Event-Based Gesture Recognition System, CVPR",
        ARCHIVE.page,
    )

    def __init__(
        self,
        root: "str | PathLike[str]",
        train: bool = True,
        transform: Callable[[np.ndarray], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download_and_create: bool = True,
        num_steps: int | None = None,
        dt: float = 1000,
        ds: int | tuple[int, int] | None = None,
        return_meta: bool = False,
        time_shuffle: bool = False,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        if num_steps is None:
            num_steps = 500 if train else 1800
        if ds is None:
            ds = 1
        given = ds if isinstance(ds, (tuple, list)) else (ds, ds)
        pair = tuple(whole("ds", factor) for factor in given)
        if len(pair) != 2 or not all(factor > 0 and SENSOR % factor == 0 for factor in pair):
            raise ValueError(
                f"ds must be a divisor of {SENSOR}, or a pair of them, got {ds}; write ds=4"
            )
        self.ds = (pair[0], pair[1])
        self.return_meta = flag("return_meta", return_meta)
        self.time_shuffle = flag("time_shuffle", time_shuffle)
        self.generator = random_source(generator)
        super().__init__(
            root, train, transform, target_transform, download_and_create, num_steps, dt
        )

    def recordings(self) -> Iterator[Recording]:
        for file in self.files():
            found = NAME.fullmatch(file.name)
            if found and (int(found[1]) <= LAST_TRAINING_USER) == self.train:
                yield from gestures(file, user=f"user{found[1]}", light=found[2])

    def files(self) -> list[Path]:
        """The files of both parts, unpacked if necessary."""
        for folder in (self.root / "DvsGesture", self.root):
            files = sorted(folder.glob("user*.aedat"))
            if files:
                return files
        packed = find_or_fetch(ARCHIVE, self.root)
        unpacked = self.root / "DvsGesture"
        with tempfile.TemporaryDirectory(dir=self.root) as part, tarfile.open(packed) as archive:
            unpack(archive, Path(part))
            os.replace(Path(part) / unpacked.name, unpacked)
        return sorted(unpacked.glob("user*.aedat"))

    def select(self, events: np.ndarray) -> np.ndarray:
        duration = self.num_steps * self.dt
        if self.time_shuffle and len(events):
            spare = max(int(events["t"].max() + 1 - duration), 0)
            start = int(torch.randint(spare + 1, (), generator=self.generator))
            events = events[events["t"] >= start]
            events["t"] -= start
        return super().select(events)

    def frames(self, events: np.ndarray) -> Tensor:
        size = (SENSOR // self.ds[0], SENSOR // self.ds[1], 2)
        events = events.copy()
        events["x"] //= self.ds[0]
        events["y"] //= self.ds[1]
        return to_frames(events, size, num_steps=self.num_steps, dt=self.dt, start=0)

    def __getitem__(self, index: int) -> Any:
        frames, target, recording = self.item(index)
        if self.return_meta:
            return frames, target, recording.texts["light"], recording.texts["user"]
        return frames, target


def gestures(file: Path, *, user: str, light: str) -> Iterator[Recording]:
    """The gestures in a file, cut by its label file; times count from a gesture's first event."""
    events = read_aedat(file)
    outside = (events["x"] >= SENSOR) | (events["y"] >= SENSOR)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(
            f"addresses must be in [0, {SENSOR - 1}], got ({events['x'][first]}, "
            f"{events['y'][first]}) at event {first} of {file}; get the file again"
        )
    for label, start, end in read_gesture_labels(file.with_name(f"{file.stem}_labels.csv")):
        if not 1 <= label <= len(DVSGesture.classes):
            raise ValueError(
                f"classes must be in [1, 11], got {label} in the labels of {file}; get the file "
                "again"
            )
        gesture = events[(events["t"] >= start) & (events["t"] < end)]
        gesture["t"] -= gesture["t"].min(initial=np.iinfo(np.int64).max)
        yield Recording(gesture, int(label) - 1, {"light": light, "user": user})
