"""Reads collections of time series in the ``.ts`` format of the UEA and UCR archives."""

from os import PathLike

import torch
from torch import Tensor

from .damage import damage_named, file_of
from .series import Series

__all__ = ["read_ts"]


def read_ts(path: "str | PathLike[str]") -> Series:
    """Reads a ``.ts`` file of labelled series without time stamps.

    Args:
        path: a text file: lines of ``@`` settings, among them ``@classLabel true NAMES``, then
            ``@data`` and one recording a line, its channels and its class divided by colons.

    Returns:
        The recordings, their labels and the names of the classes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, has time stamps, missing values or no classes, or the channels of
            a recording differ in length; the message names the line.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.ts"
    >>> _ = path.write_text("@timestamps false\\n@classLabel true a b\\n@data\\n1,2,3:4,5,6:b\\n")
    >>> series = read_ts(path)
    >>> series.recordings[0].shape, series.labels
    (torch.Size([3, 2]), tensor([1]))
    """
    rule, origin = "a .ts file of labelled series", "from timeseriesclassification.com"
    path = file_of("path", path, rule, f"get it {origin}")
    with damage_named(path, rule, f"get it again {origin}"):
        lines = path.read_text(encoding="utf-8").splitlines()
        settings, begin = _header(lines)
        if settings.get("@timestamps", "false").lower() != "false":
            raise ValueError("it has time stamps, which are not read")
        labelled, *classes = settings.get("@classlabel", "false").split()
        if labelled.lower() != "true" or not classes:
            raise ValueError("it names no classes in @classLabel")
        rows = [(i, line) for i, line in enumerate(lines[begin:], begin + 1) if line.strip()]
        if not rows:
            raise ValueError("it has no recordings")
        found = [_recording(line.strip(), number) for number, line in rows]
        numbers = {name: index for index, name in enumerate(classes)}
        for (number, _), (_, label) in zip(rows, found, strict=True):
            if label not in numbers:
                raise ValueError(f"line {number} has the unknown class {label!r}")
        channels = {x.shape[1] for x, _ in found}
        if len(channels) > 1:
            raise ValueError(f"recordings have different numbers of channels: {sorted(channels)}")
    labels = torch.tensor([numbers[label] for _, label in found])
    return Series([x for x, _ in found], labels, tuple(classes))


def _header(lines: list[str]) -> tuple[dict[str, str], int]:
    """Return the settings by name, and the number of the line ``@data``."""
    settings: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, _, value = line.strip().partition(" ")
        if name.lower() == "@data":
            return settings, number
        if name.startswith("@"):
            settings[name.lower()] = value.strip()
    raise ValueError("it has no line @data")


def _recording(line: str, number: int) -> tuple[Tensor, str]:
    """Return the values, [T, channels], and the class of a line."""
    *channels, label = line.split(":")
    if "?" in line:
        raise ValueError(f"line {number} has missing values")
    try:
        values = [[float(value) for value in channel.split(",")] for channel in channels]
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
    if not values or len({len(channel) for channel in values}) > 1:
        raise ValueError(f"line {number} has channels of different length, or none")
    x = torch.tensor(values).t().contiguous()
    if not bool(x.isfinite().all()):
        raise ValueError(f"line {number} has values that are not finite")
    return x, label.strip()
