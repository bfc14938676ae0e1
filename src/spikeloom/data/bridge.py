"""Data sets of the Tonic project as frames.

Tonic reads many event data sets that this library does not. It is large and licensed under the GPL;
therefore it has its own extra, and is imported only when `tonic` is called.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ..core.checks import choice, require
from ..core.numbers import flag, real, whole
from .cache import DiskCache
from .events import sensor_of, to_frames

__all__ = ["EventFrames", "tonic"]


class EventFrames(Dataset[tuple[Any, Any]]):
    """Recordings of an event data set as frames [T, P, H, W].

    Args:
        dataset: pairs of a structured array ``x, y, t, p`` and a target, such as a data set of
            Tonic.
        num_steps: number of steps, see `to_frames`.
        dt: duration of a step in the unit of ``t`` (Tonic: microseconds), see `to_frames`.
        sensor_size: width, height and number of polarities. Default: ``dataset.sensor_size``.
        binary: whether a pixel with events is 1 instead of their number.
        transform: applied to the frames.

    Raises:
        TypeError: ``dataset`` is not a data set.
        ValueError: ``sensor_size`` is missing, or ``num_steps`` and ``dt`` are; reading a sample
            may raise the errors of `to_frames`.

    >>> from spikeloom.data import EVENT
    >>> import numpy as np
    >>> recordings = [(np.array([(0, 0, 0, 1), (1, 0, 9, 0)], EVENT), 7)]
    >>> frames, target = EventFrames(recordings, num_steps=3, sensor_size=(2, 1, 2))[0]
    >>> frames.shape, target
    (torch.Size([3, 2, 1, 2]), 7)
    """

    def __init__(
        self,
        dataset: Any,
        *,
        num_steps: int | None = None,
        dt: float | None = None,
        sensor_size: tuple[int, int, int] | None = None,
        binary: bool = False,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        if isinstance(dataset, Tensor) or not hasattr(dataset, "__getitem__"):
            kind = type(dataset).__name__
            raise TypeError(
                f"dataset must hold pairs (events, target), got {kind}; write a Dataset"
            )
        size = getattr(dataset, "sensor_size", None) if sensor_size is None else sensor_size
        if size is None:
            raise ValueError(
                f"sensor_size must be (width, height, polarities), got {size} from "
                f"{type(dataset).__name__}; pass it"
            )
        size = sensor_of(size)
        if num_steps is None and dt is None:
            raise ValueError(
                "num_steps or dt must define the duration of a step, got neither; write dt=1000 "
                "for milliseconds"
            )
        if num_steps is not None:
            whole("num_steps", num_steps, 1)
        if dt is not None:
            real("dt", dt, 0.0, open_low=True, example=1000.0)
        self.dataset = dataset
        self.transform = transform
        self.options: dict[str, Any] = {
            "sensor_size": size,
            "num_steps": num_steps,
            "dt": dt,
            "binary": flag("binary", binary),
        }

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        events, target = self.dataset[index]
        frames = to_frames(events, **self.options)
        return (self.transform(frames) if self.transform else frames), target


def tonic(
    name: str,
    root: "str | PathLike[str]",
    *,
    num_steps: int | None = None,
    dt: float | None = None,
    binary: bool = False,
    cache: "str | PathLike[str] | None" = None,
    transform: Callable[[Tensor], Any] | None = None,
    **options: Any,
) -> Dataset[tuple[Any, Any]]:
    """A data set of Tonic as frames, optionally cached on disk.

    Args:
        name: its class in ``tonic.datasets``, such as ``"NMNIST"``.
        root: folder for its files; Tonic downloads missing files.
        num_steps: number of steps, see `to_frames`.
        dt: duration of a step in microseconds, see `to_frames`.
        binary: whether a pixel with events is 1 instead of their number.
        cache: folder of a `DiskCache` of the frames. Default: no cache.
        transform: applied to the frames, after the cache.
        options: passed to Tonic's class, such as ``train=False``.

    Returns:
        Pairs of frames [T, P, H, W] and target; collate those of different length with
        `pad_sequences`.

    Raises:
        ImportError: Tonic is not installed.
        ValueError: it has no such data set, or ``num_steps`` and ``dt`` are both missing.

    >>> tonic("NMNIST", "data", dt=1000, train=False)  # doctest: +SKIP
    """
    datasets = require("tonic.datasets", extra="events", purpose="data.tonic()")
    names = [found for found in dir(datasets) if isinstance(getattr(datasets, found), type)]
    dataset = getattr(datasets, choice("name", name, names))(save_to=str(root), **options)
    if cache is None:
        return EventFrames(dataset, num_steps=num_steps, dt=dt, binary=binary, transform=transform)
    frames = EventFrames(dataset, num_steps=num_steps, dt=dt, binary=binary)
    key = f"{name} {sorted(options.items())} {sorted(frames.options.items())}"
    return DiskCache(frames, cache, key=key, transform=transform)
