"""The base of the event data sets: folders, the cache, and the conversion of events to frames."""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..core.numbers import flag, path_of, real, whole
from ..data.series import Source
from .store import EventStore, Recording

__all__ = ["EventDataset"]


class EventDataset(Dataset[Any]):
    """Base class of the data sets; a subclass reads its files and makes frames.

    Args:
        root: folder of the original files, and of the cache.
        train: whether to use the training part instead of the test part.
        transform: replaces the conversion to frames; it receives the events of a recording as an
            integer array [n, 4] with the columns time (microseconds from the first event),
            polarity, x, y.
        target_transform: applied to the class.
        download_and_create: whether missing files may be downloaded and a missing cache written.
        num_steps: number of time steps T.
        dt: duration of a step in microseconds; events after num_steps x dt are dropped.

    Raises:
        ConnectionError: files are missing and cannot be downloaded.
        FileNotFoundError: there is no cache and ``download_and_create`` is False.
        ImportError: h5py is not installed.
        ValueError: a file is damaged, or a number is out of range.
    """

    cache_name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    source: ClassVar[Source]

    def __init__(
        self,
        root: "str | PathLike[str]",
        train: bool,
        transform: Callable[[np.ndarray], Any] | None,
        target_transform: Callable[[int], Any] | None,
        download_and_create: bool,
        num_steps: int,
        dt: float,
    ) -> None:
        num_steps = whole("num_steps", num_steps, 1)
        real("dt", dt, 0.0, open_low=True, example=1000.0)
        flag("train", train)
        flag("download_and_create", download_and_create)
        self.root = path_of("root", root).expanduser()
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        self.num_steps = num_steps
        self.dt = dt
        self.num_classes = len(self.classes)
        cache = self.root / f"{self.cache_name}_{'train' if train else 'test'}.hdf5"
        if not cache.exists():
            if not download_and_create:
                raise FileNotFoundError(
                    f"{type(self).__name__} needs its cache {cache}, which is absent; write "
                    "download_and_create=True to make it from the original files"
                )
            self.root.mkdir(parents=True, exist_ok=True)
            EventStore.write(cache, self.recordings())
        self.store = EventStore(cache)
        self.keys = np.arange(len(self.store))

    def recordings(self) -> Iterable[Recording]:
        """The recordings of this part, read from the original files."""
        raise NotImplementedError

    def frames(self, events: np.ndarray) -> Tensor:
        """Frames of a recording, time first."""
        raise NotImplementedError

    def table(self, events: np.ndarray) -> np.ndarray:
        """Events as the integer array that a user's ``transform`` receives."""
        return np.column_stack([events[field].astype(np.int64) for field in "tpxy"])

    def select(self, events: np.ndarray) -> np.ndarray:
        """The events of the first ``num_steps`` steps."""
        return events[events["t"] < self.num_steps * self.dt]

    def item(self, index: int) -> tuple[Any, Any, Recording]:
        """Transformed frames and target, and their recording."""
        recording = self.store[int(self.keys[index])]
        events = self.select(recording.events)
        target = recording.label
        if self.target_transform is not None:
            target = self.target_transform(target)
        if self.transform is None:
            return self.frames(events), target, recording
        return self.transform(self.table(events)), target, recording

    def __getitem__(self, index: int) -> Any:
        return self.item(index)[:2]

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        part = "training" if self.train else "test"
        steps = f"{self.num_steps} steps of {self.dt} us"
        return f"{type(self).__name__}({len(self)} {part} recordings in {self.root}, {steps})"
