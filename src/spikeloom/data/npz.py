"""Reads npz files, with errors that name a damaged file."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from .damage import damage_named

__all__ = ["read_npz"]


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads the arrays ``names`` of an npz file, and refuses objects that need unpickling.

    Raises:
        ValueError: the file is not an npz file, is damaged, or lacks one of the arrays.

    >>> np.savez("a.npz", x=np.arange(3))
    >>> read_npz(Path("a.npz"), ("x",))
    {'x': array([0, 1, 2])}
    """
    arrays: dict[str, np.ndarray] = {}
    remedy = "delete it, and download or make it again"
    with damage_named(path, "a whole npz file", remedy), zipfile.ZipFile(path) as archive:
        stored = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        for name in names:
            if name in stored:
                arrays[name] = _array(archive.read(stored[name]))
    if len(arrays) < len(names):
        found = ", ".join(stored)
        raise ValueError(
            f"{path} must hold the arrays {', '.join(names)}, got {found}; rename them"
        )
    return arrays


def _array(raw: bytes) -> np.ndarray:
    """The array of an entry whose checksum zipfile has verified.

    The size is checked first, because NumPy allocates any shape that the header declares.
    """
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of the npy format is unknown")
    wanted = math.prod(shape) * dtype.itemsize
    if file.tell() + wanted != len(raw) and not dtype.hasobject:
        raise ValueError(
            f"an array {shape} of {dtype} has {wanted} bytes, in an entry of {len(raw)}"
        )
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
