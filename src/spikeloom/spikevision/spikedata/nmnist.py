"""N-MNIST: MNIST digits recorded by an event camera that makes three saccades."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor

from ...core.numbers import flag
from ...data.damage import damage_named
from ...data.events import to_frames
from ...data.series import Source
from ..dataset import EventDataset
from ..download import Archive, find_or_fetch
from ..readers import read_nmnist
from ..store import Recording

__all__ = ["NMNIST"]

PAGE = "https://www.garrickorchard.com/datasets/n-mnist"
MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/{}/file_downloaded"
ARCHIVES = {
    "Train": Archive(
        "Train.zip",
        MENDELEY.format("39c25547-014b-4137-a934-9d29fa53c7a0"),
        "20959b8e626244a1b502305a9e6e2031",
        PAGE,
    ),
    "Test": Archive(
        "Test.zip",
        MENDELEY.format("05a4d654-7e03-4c15-bdfa-9bb2bcbea494"),
        "69ca8762b2fe404d9b9bad1103e97832",
        PAGE,
    ),
}
SIZE = 32  # pixels used of the sensor's 34


class NMNIST(EventDataset):
    """N-MNIST: 60000 training and 10000 test recordings of MNIST digits, about 300 ms each.

    ``root`` holds ``Train.zip`` and ``Test.zip``, or the folders ``Train`` and ``Test`` of their
    contents. The cache is ``n_mnist_train.hdf5`` or ``n_mnist_test.hdf5``; once it exists, the zip
    files are not needed.

    Differences from snnTorch: it reduces every digit to as many recordings as the rarest one has
    (54210 and 8920 in all; ``balanced`` does the same), replaces the user's ``target_transform``,
    and its version 1.0.0 writes a cache without events.

    Args:
        root: folder of the original files, and of the cache.
        train: whether to use the training part instead of the test part.
        transform: replaces the conversion to frames; it receives the events of a recording as an
            integer array [n, 4] with the columns time (microseconds from the first event),
            polarity, x, y.
        target_transform: applied to the digit.
        download_and_create: whether missing files may be downloaded and a missing cache written.
        num_steps: number of time steps T.
        dt: duration of a step in microseconds; events after num_steps x dt are dropped.
        balanced: whether to use the same number of recordings of each digit, the first ones.

    Returns:
        Items are frames [T, 2, 32, 32] of counts, float32, polarity 0 being OFF, and the digit.
        Events in the last two rows and columns of the 34 x 34 sensor are dropped, as in snnTorch.

    Raises:
        ConnectionError: files are missing and cannot be downloaded.
        FileNotFoundError: there is no cache and ``download_and_create`` is False.
        ImportError: h5py is not installed.
        ValueError: a file is damaged, or a number is out of range.

    Source: Orchard, Jayawant, Cohen & Thakor (2015), Frontiers in Neuroscience 9, 437.

    >>> folder = Path("nmnist/Train/7")
    >>> folder.mkdir(parents=True)
    >>> events = bytes([3, 4, 128, 0, 0, 5, 6, 0, 10, 0])  # two events, 2.56 ms apart
    >>> _ = (folder / "00001.bin").write_bytes(events)
    >>> frames, digit = NMNIST("nmnist", num_steps=3, dt=1000)[0]
    >>> frames.nonzero().tolist(), digit
    ([[0, 1, 4, 3], [2, 0, 6, 5]], 7)
    """

    cache_name = "n_mnist"
    classes = tuple("0123456789")
    source = Source(
        "N-MNIST",
        "CC BY-SA 4.0",
        "Orchard, Jayawant, Cohen & Thakor (2015), Frontiers in Neuroscience 9, 437",
        PAGE,
    )

    def __init__(
        self,
        root: "str | PathLike[str]",
        train: bool = True,
        transform: Callable[[np.ndarray], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download_and_create: bool = True,
        num_steps: int = 300,
        dt: float = 1000,
        *,
        balanced: bool = False,
    ) -> None:
        super().__init__(
            root, train, transform, target_transform, download_and_create, num_steps, dt
        )
        if flag("balanced", balanced):
            label = self.store.label
            number = np.unique(label, return_counts=True)[1].min()
            self.keys = np.concatenate(
                [np.flatnonzero(label == digit)[:number] for digit in np.unique(label)]
            )

    def recordings(self) -> Iterator[Recording]:
        part = "Train" if self.train else "Test"
        for folder in (self.root / part, self.root / part.lower()):
            files = sorted(folder.glob("[0-9]/*.bin"))
            if files:
                yield from (recording(file.read_bytes(), file) for file in files)
                return
        archive = find_or_fetch(ARCHIVES[part], self.root, also=(f"{part.lower()}.zip",))
        yield from packed_recordings(archive)

    def select(self, events: np.ndarray) -> np.ndarray:
        return super().select(events[(events["x"] < SIZE) & (events["y"] < SIZE)])

    def frames(self, events: np.ndarray) -> Tensor:
        return to_frames(events, (SIZE, SIZE, 2), num_steps=self.num_steps, dt=self.dt, start=0)


def recording(raw: bytes, file: Path) -> Recording:
    """The recording of a file; the name of its folder is the class."""
    events = read_nmnist(raw, str(file))
    events["t"] -= events["t"].min(initial=np.iinfo(np.int64).max)
    return Recording(events, int(file.parent.name))


def packed_recordings(archive: Path) -> Iterator[Recording]:
    """The recordings of a zip file, in order of their names."""
    rule = "a whole zip file of N-MNIST"
    remedy = "delete it and get it again"
    with ExitStack() as stack:
        with damage_named(archive, rule, remedy):
            files = stack.enter_context(zipfile.ZipFile(archive))
            names = sorted(n for n in files.namelist() if PurePosixPath(n).match("[0-9]/*.bin"))
        for name in names:
            with damage_named(archive, rule, remedy):
                raw = files.read(name)
            yield recording(raw, Path(name))
