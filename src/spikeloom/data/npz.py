"""Reading npz files, with errors that say which file is damaged."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

__all__ = ["read_npz"]


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays ``names`` of an npz file; objects that would need unpickling are refused.

    Raises:
        ValueError: the file is no npz file, is damaged, or lacks one of the arrays.

    >>> np.savez("a.npz", x=np.arange(3))
    >>> read_npz(Path("a.npz"), ("x",))
    {'x': array([0, 1, 2])}
    """
    try:
        with zipfile.ZipFile(path):  # np.load would take other files for pickles
            pass
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in names if name in archive}
            found = ", ".join(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} must be a whole npz file, got something else or a damaged one ({error}); "
            "delete it, and download or make it again"
        ) from error
    if len(arrays) < len(names):
        raise ValueError(f"{path} must hold the arrays {', '.join(names)}, got {found}; rename them")
    return arrays
