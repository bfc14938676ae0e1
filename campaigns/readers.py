"""Mutates files of every format; each must be read, or refused by a ValueError with its path.

    python campaigns/readers.py --number 50000

Truncations, flipped bits, other bytes, changed headers, pieces that are cut out, doubled, zeroed or
exchanged, garbage, and for HDF5 also removed, replaced and linked objects. Prints how many files of
each format were read and refused; a fault is any other error, an error without the path, a crash or
a hang. A flipped bit of a pixel or a weight cannot be noticed; such files count as read. Formats
with a checksum must give what the whole file gives, or be refused; anything else is silent damage.
"""

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers import Case, campaign

KINDS = (
    "idx",
    "idx.gz",
    "npz",
    "jpeg.npz",
    "sample.npz",
    "nmnist",
    "nmnist.zip",
    "aedat",
    "labels.csv",
    "shd",
    "shd.gz",
    "store",
    "nir mlp",
    "nir image",
    "nir loop",
    "nir delay",
)
CHECKED = ("idx.gz", "npz", "jpeg.npz", "sample.npz", "shd.gz", "store")
MEMORY = 12 << 30  # bytes of address space, so that allocating an absurd array fails


def kind(number: int) -> str:
    """The format of a case."""
    return KINDS[number % len(KINDS)]


def mutated(raw: bytes, random: Any) -> bytes:
    """A file with one to three damages."""
    for _ in range(int(random.integers(1, 4))):
        raw = DAMAGES[int(random.integers(len(DAMAGES)))](bytearray(raw), random)
    return raw


def _place(raw: bytearray, random: Any) -> int:
    """A place in a file, every second time in its first bytes or its last."""
    ends = [
        random.integers(len(raw)),
        random.integers(min(len(raw), 64)),
        len(raw) - 1 - random.integers(min(len(raw), 64)),
    ]
    return int(ends[int(random.choice([0, 0, 1, 2]))])


def _cut(raw: bytearray, random: Any) -> bytes:
    return bytes(raw[: _place(raw, random)]) if raw else b""


def _flip(raw: bytearray, random: Any) -> bytes:
    for _ in range(int(random.integers(1, 9)) if raw else 0):
        raw[_place(raw, random)] ^= 1 << int(random.integers(8))
    return bytes(raw)


def _overwrite(raw: bytearray, random: Any) -> bytes:
    if raw:
        place = _place(raw, random)
        size = int(random.choice([1, 2, 4, 8]))
        values = [bytes(size), b"\xff" * size, random.bytes(size), b"\x7f" + b"\xff" * (size - 1)]
        raw[place : place + size] = values[int(random.integers(4))]
    return bytes(raw)


def _remove(raw: bytearray, random: Any) -> bytes:
    if raw:
        place = _place(raw, random)
        del raw[place : place + int(random.integers(1, 64))]
    return bytes(raw)


def _double(raw: bytearray, random: Any) -> bytes:
    if raw:
        place = _place(raw, random)
        raw[place:place] = raw[place : place + int(random.integers(1, 200))]
    return bytes(raw)


def _zero(raw: bytearray, random: Any) -> bytes:
    if raw:
        place = _place(raw, random)
        size = len(raw[place : place + int(random.integers(1, 600))])
        raw[place : place + size] = bytes(size)
    return bytes(raw)


def _exchange(raw: bytearray, random: Any) -> bytes:
    if len(raw) > 32:
        size = int(random.integers(1, len(raw) // 4))
        first, second = (int(place) for place in random.integers(0, len(raw) - size, 2))
        piece = bytes(raw[first : first + size])
        raw[first : first + size] = raw[second : second + size]
        raw[second : second + size] = piece
    return bytes(raw)


def _garbage(raw: bytearray, random: Any) -> bytes:
    keep = int(random.integers(0, 16))
    return bytes(raw[:keep]) + random.bytes(int(random.integers(0, 400)))


DAMAGES: list[Callable[[bytearray, Any], bytes]] = [
    _cut,
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _remove,
    _double,
    _zero,
    _exchange,
    _garbage,
]


def restructured(path: Path, random: Any) -> None:
    """Remove, replace or link objects of an HDF5 file."""
    import h5py
    import numpy as np

    values = [
        3,
        -1,
        0,
        10**9,
        2.5,
        float("nan"),
        float("inf"),
        -1e300,
        "text",
        b"\xff\xfe",
        "",
        np.zeros(0),
        np.ones(7),
        np.ones((2, 3, 4)),
        np.array([1, 2, 3]),
        np.array([b"a", b"b"]),
        np.array([10**6, 10**6]),
        np.ones(3, np.complex64),
        np.zeros(2, [("a", "i4"), ("b", "f4")]),
        h5py.SoftLink("/nowhere"),
        h5py.SoftLink("/node"),
        h5py.ExternalLink("other.h5", "/x"),
        h5py.Empty("f4"),
    ]
    with h5py.File(path, "a") as file:
        for _ in range(int(random.integers(1, 3))):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return
            name = names[int(random.integers(len(names)))]
            action = int(random.integers(4))
            if action < 3:
                del file[name]
            if action in (1, 2):
                file[name] = values[int(random.integers(len(values)))]
            if action == 3:
                other = names[int(random.integers(len(names)))]
                parent = file[name] if isinstance(file[name], h5py.Group) else file[name].parent
                more = f"more{int(random.integers(9))}"
                if more not in parent:
                    parent[more] = file[other]


def prepared() -> Case:
    """The function that runs one case, in a folder of its own."""
    import numpy as np
    from files import formats

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    folder = tempfile.TemporaryDirectory()
    known = formats(Path(folder.name))
    originals = {name: content(known[name], Path(folder.name)) for name in CHECKED}

    def case(seed: int, number: int, root: Any = folder) -> dict[str, Any]:
        random = np.random.default_rng([seed, number])
        name = kind(number)
        whole = known[name]
        path = Path(root.name) / whole.name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        is_hdf5 = name == "shd" or name.startswith("nir")
        if is_hdf5 and random.integers(2):
            path.write_bytes(whole.content)
            restructured(path, random)
        else:
            path.write_bytes(mutated(whole.content, random))
        outcome, detail = outcome_of(whole, path, originals.get(name))
        path.unlink(missing_ok=True)
        return {"outcome": outcome, "detail": detail}

    return case


def content(whole: Any, root: Path) -> Any:
    """What the whole file of a format gives."""
    path = root / whole.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(whole.content)
    return plain(whole.read(path))


def plain(value: Any) -> Any:
    """Arrays, tensors and records as something that can be compared by ``==``."""
    if hasattr(value, "tobytes"):
        return (str(value.dtype), value.shape, value.tobytes())
    if hasattr(value, "numpy"):
        return plain(value.numpy())
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    return str(value)


def outcome_of(whole: Any, path: Path, original: Any) -> tuple[str, str]:
    """Whether a file was read, refused as documented, or anything else."""
    try:
        found = whole.read(path)
        if original is not None and plain(found) != original:
            return "silent", "another content in spite of the checksum"
    except ValueError as error:
        if type(error) is ValueError and path.name in str(error):
            return "refused", ""
        return "undocumented", f"{type(error).__name__} without the path: {str(error)[:200]}"
    except BaseException as error:  # every other error is a fault
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        code = trace.tb_frame.f_code if trace is not None else None
        where = f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}" if code and trace else "?"
        return "undocumented", f"{type(error).__name__} at {where}: {str(error)[:160]}"
    return "read", ""


if __name__ == "__main__":
    sys.exit(campaign(__file__, "mutated files", 50_000, kind, prepared))
