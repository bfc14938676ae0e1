"""What all event data sets share: where files are, the cache, and the way from events to frames."""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..core.numbers import flag, path_of, real, whole
from .store import EventStore, Recording

__all__ = ["EventDataset"]


class EventDataset(Dataset[Any]):
    """Base class of the data sets; a subclass says how to read its files and how to make frames.

    Args:
        root: folder of the original files, and of the cache.
        train: the training part instead of the test part.
        transform: takes the place of frames: gets the events of a recording as an integer array [n,
            4] with the columns time (microseconds from the first event), polarity, x, y.
        target_transform: applied to the class.
        download_and_create: whether files may be downloaded and the cache be written if there is
            none.
        num_steps: number of time steps T.
        dt: duration of a step in microseconds; events after num_steps x dt are left out.

    Raises:
        ConnectionError: files are absent and cannot be downloaded.
        FileNotFoundError: there is no cache and ``download_and_create`` is False.
        ImportError: h5py is not installed.
        ValueError: a file is damaged, or a number is out of range.
    """

    cache_name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]

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
        self.transform, self.target_transform = transform, target_transform
        self.num_steps, self.dt = num_steps, dt
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
        """Events as the integer array that a user's ``transform`` gets."""
        return np.column_stack([events[field].astype(np.int64) for field in "tpxy"])

    def select(self, events: np.ndarray) -> np.ndarray:
        """The events that lie within ``num_steps`` steps of the beginning."""
        return events[events["t"] < self.num_steps * self.dt]

    def item(self, index: int) -> tuple[Any, Any, Recording]:
        """Transformed frames and target, and the recording they were made of."""
        recording = self.store[int(self.keys[index])]
        events = self.select(recording.events)
        frames = (
            self.frames(events) if self.transform is None else self.transform(self.table(events))
        )
        target = (
            recording.label
            if self.target_transform is None
            else self.target_transform(recording.label)
        )
        return frames, target, recording

    def __getitem__(self, index: int) -> Any:
        return self.item(index)[:2]

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        part = "training" if self.train else "test"
        steps = f"{self.num_steps} steps of {self.dt} us"
        return f"{type(self).__name__}({len(self)} {part} recordings in {self.root}, {steps})"
