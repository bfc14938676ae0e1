"""The cache of a data set: all its recordings in one HDF5 file.

The file holds ``events`` (all recordings, concatenated), ``offset`` (the first event of each,
[N + 1]), ``label`` [N] and optional texts about each recording. It is written under another name
and renamed, so that it is complete or absent, and begins with a checksum, see
`spikeloom.spikevision.checksum`.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..core.checks import require
from ..data.damage import damage_named
from ..data.events import EVENT
from . import checksum

__all__ = ["EventStore", "Recording"]

CHUNK = 1 << 14  # events


class Recording(NamedTuple):
    """One sample.

    Attributes:
        events: structured array of `spikeloom.data.EVENT`, times in microseconds.
        label: class from 0.
        texts: further information by name.
    """

    events: np.ndarray
    label: int
    texts: Mapping[str, str] = MappingProxyType({})


def h5py() -> Any:
    """The package that reads and writes HDF5."""
    return require("h5py", extra="data", purpose="reading event data sets")


class EventStore:
    """Read access to a cache; each process of a data loader opens its own file handle.

    Args:
        path: a file written by `EventStore.write`.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the file has another format, or its checksum does not match its content.

    >>> import numpy as np
    >>> events = np.array([(1, 2, 3, 1)], EVENT)
    >>> EventStore.write(Path("toy.hdf5"), [Recording(events, 7, {"light": "lab"})])
    >>> store = EventStore(Path("toy.hdf5"))
    >>> len(store), store[0].events.tolist(), store[0].label, store[0].texts
    (1, [(1, 2, 3, 1)], 7, {'light': 'lab'})
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: tuple[int, Any] = (0, None)
        checksum.check(path)
        with self._named():
            file = self._file()
            self.offset = file["offset"][()]
            self.label = file["label"][()]
            self.texts = {name: text.asstr()[()] for name, text in file["texts"].items()}
        self.close()

    def _named(self) -> Any:
        """Context in which errors of libhdf5 name the path."""
        return damage_named(self.path, "a cache of events", "delete it")

    def _file(self) -> Any:
        """The open file of this process."""
        process, file = self._open
        if file is None or process != os.getpid():
            file = h5py().File(self.path, "r")
            self._open = (os.getpid(), file)
        return file

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        process, file = self._open
        if file is not None and process == os.getpid():
            file.close()
        self._open = (0, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": (0, None)}

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> Recording:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be in [{-len(self)}, {len(self) - 1}], got {index}")
        index %= len(self)
        with self._named():
            events = self._file()["events"][self.offset[index] : self.offset[index + 1]]
        texts = {name: str(text[index]) for name, text in self.texts.items()}
        return Recording(events, int(self.label[index]), texts)

    @staticmethod
    def write(path: Path, recordings: Iterable[Recording]) -> None:
        """Writes recordings one at a time.

        Raises:
            ValueError: ``recordings`` is empty.
        """
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        offset = [0]
        labels = []
        texts = []
        try:
            with h5py().File(part, "w", userblock_size=checksum.BLOCK) as file:
                events = file.create_dataset(
                    "events",
                    (0,),
                    EVENT,
                    chunks=(CHUNK,),
                    maxshape=(None,),
                    compression="lzf",
                    shuffle=True,
                )
                for recording in recordings:
                    offset.append(offset[-1] + len(recording.events))
                    labels.append(recording.label)
                    texts.append(recording.texts)
                    events.resize(offset[-1], axis=0)
                    events[offset[-2] :] = recording.events
                if not labels:
                    raise ValueError(
                        f"a cache must hold at least one recording, got none for {path}; check the "
                        "raw files"
                    )
                file["offset"] = np.array(offset)
                file["label"] = np.array(labels)
                group = file.create_group("texts")
                for name in texts[0]:
                    group[name] = [text[name] for text in texts]
            checksum.sign(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
