"""The content of a NIR file as nested dicts of arrays and strings, whatever libhdf5 finds in it.

A damaged or hostile HDF5 file may link to other files, contain itself, or declare arrays that it
does not hold. Only groups and datasets of the file itself are read, each once.
"""

from pathlib import Path
from typing import Any

from ..core.checks import require

__all__ = ["content_of"]

DEEPEST = 64  # groups inside each other; a graph of three subgraphs in each other needs eight
RATIO = 1100  # more than deflate can compress
SMALL = 1 << 20  # bytes
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def content_of(path: Path) -> dict[str, Any]:
    """The group ``node`` of a NIR file.

    Args:
        path: the file.

    Returns:
        Groups as dicts, datasets as arrays, numbers or strings.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no NIR file, or is damaged.
    """
    h5py = require("h5py", extra="data", purpose="reading a NIR file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise ValueError(f"{path} is no NIR file: it is a folder; give the path of a file")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is no NIR file: it is not HDF5; nir.write(path, graph) makes one")
    try:
        with h5py.File(path, "r") as file:
            reader = _Reader(h5py, path.stat().st_size)
            found = sorted(file)
            if "node" in found:
                reader.check_link(file, "node")
            if not isinstance(file.get("node"), h5py.Group):
                raise _Refused(f"it has {found} and no group 'node'")
            return reader.group(file["node"], "node", 1)
    except _Refused as error:
        raise ValueError(f"{path} is no NIR file: {error}") from None
    except PermissionError:
        raise
    except DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged ({reason}); write or download it again") from error


class _Refused(Exception):
    """What a NIR file never holds."""


class _Reader:
    """Reads each object of one file once.

    Args:
        h5py: the package.
        size: of the file, in bytes.
    """

    def __init__(self, h5py: Any, size: int) -> None:
        self.h5py = h5py
        self.size = size
        self.seen: set[int] = set()

    def check_link(self, group: Any, key: str) -> None:
        """Refuse links to other files and soft links, which may lead nowhere or in a circle."""
        link = group.get(key, getlink=True)
        if not isinstance(link, self.h5py.HardLink):
            raise _Refused(
                f"{key!r} is a {type(link).__name__}; write the data into the file itself"
            )

    def group(self, group: Any, name: str, depth: int) -> dict[str, Any]:
        """All that is in a group."""
        address = self.h5py.h5o.get_info(group.id).addr
        if address in self.seen:
            raise _Refused(f"its group {name!r} is there twice, or contains itself; write a tree")
        if depth > DEEPEST:
            raise _Refused(f"its groups are nested deeper than {DEEPEST}; write a flatter graph")
        self.seen.add(address)
        found = {}
        for key in group:
            self.check_link(group, key)
            path = f"{name}/{key}"
            item = group[key]
            if isinstance(item, self.h5py.Group):
                found[key] = self.group(item, path, depth + 1)
            elif isinstance(item, self.h5py.Dataset):
                found[key] = self.dataset(item, path)
            else:
                raise _Refused(f"{path!r} is neither a group nor a dataset; remove it")
        return found

    def dataset(self, item: Any, name: str) -> Any:
        """A dataset as an array, a number or a string."""
        if item.shape is None:
            raise _Refused(f"{name!r} is empty; write its value")
        if item.nbytes > SMALL + RATIO * self.size:
            raise _Refused(
                f"{name!r} declares {item.nbytes} bytes in a file of {self.size}; write the file "
                "again"
            )
        value = item[()]
        return value.decode() if isinstance(value, bytes) else value
