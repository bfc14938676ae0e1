"""Electromyograms of the Myo armband: one text file for each take."""

from os import PathLike

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import path_of
from .damage import damage_named, file_of
from .series import Series, Source

__all__ = ["myo_gestures", "read_myo"]

MYO = Source(
    "Myo readings",
    "MIT",
    "Francic, myo-readings-dataset",
    "github.com/aljazfrancic/myo-readings-dataset",
)
GESTURES = (
    "hibernation",
    "flexion",
    "extension",
    "radial deviation",
    "ulnar deviation",
    "pronation",
    "supination",
    "fist",
)
RATE = 200.0  # samples per second
ELECTRODES = 8
HELD_OUT = 3  # the session that is the test part


def read_myo(path: "str | PathLike[str]") -> tuple[Tensor, Tensor]:
    """Reads a take of the Myo armband.

    Args:
        path: a text file; each line holds the values of 8 electrodes in [-128, 127] and the gesture
            in [0, 7], divided by commas.

    Returns:
        The signal, [N, 8], float32 in [-1, 1), and the gesture at each sample, [N], int64.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line has other contents, or there is none.

    >>> from pathlib import Path
    >>> _ = Path("2.txt").write_text("64,0,0,0,0,0,0,-128,2\\n0,0,0,0,0,0,0,0,0\\n")
    >>> signal, gesture = read_myo("2.txt")
    >>> signal[0, [0, 7]], gesture
    (tensor([ 0.5000, -1.0000]), tensor([2, 0]))
    """
    path = file_of("path", path, "a take of the Myo armband", "write a path such as 12345-3/6.txt")
    with damage_named(path, "a take of the Myo armband", "get it again"):
        lines = path.read_text(encoding="ascii").split()
        if not lines:
            raise ValueError("it has no lines")
        table = np.loadtxt(lines, np.int64, delimiter=",", ndmin=2)
        if table.shape[1] != ELECTRODES + 1:
            raise ValueError(f"its lines have {table.shape[1]} numbers instead of 9")
        signal, gesture = table[:, :ELECTRODES], table[:, ELECTRODES]
        outside = (signal < -128).any(1) | (signal > 127).any(1)
        outside |= (gesture < 0) | (gesture >= len(GESTURES))
        if outside.any():
            number = int(outside.argmax())
            raise ValueError(f"line {number + 1}, {lines[number]!r}, has values out of range")
    return torch.from_numpy(signal.astype(np.float32) / 128), torch.from_numpy(gesture.copy())


def myo_gestures(root: "str | PathLike[str]") -> Series:
    """Gestures of a folder of takes of the Myo armband: the spans with one gesture each.

    Args:
        root: folder of the sessions; ``12345-3/6.txt`` is the take of gesture 6 in the third
            session of person 12345.

    Returns:
        Series of recordings [T_i, 8], about 5 s each, groups being the persons. The third session
        of each person is the part "test", the others are "train".

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a take is damaged, contains another gesture than hibernation and that of its
            name, or there is none.

    >>> from pathlib import Path
    >>> session = Path("readings/12345-1")
    >>> session.mkdir(parents=True)
    >>> lines = ["0,0,0,0,0,0,0,0,0"] * 3 + ["9,9,9,9,9,9,9,9,7"] * 2
    >>> _ = (session / "7.txt").write_text("\\n".join(lines))
    >>> series = myo_gestures("readings")
    >>> [len(x) for x in series.recordings], [series.classes[i] for i in series.labels]
    ([3, 2], ['hibernation', 'fist'])
    """
    folder = path_of("root", root)
    if not folder.is_dir():
        raise FileNotFoundError(f"root must be a folder of sessions, and there is no {folder}")
    takes = sorted(folder.rglob("[0-9]*-[0-9]*/[0-7].txt"))
    if not takes:
        raise ValueError(f"{folder} must hold takes such as 12345-1/7.txt, got none")
    found: list[Tensor] = []
    labels: list[int] = []
    groups: list[str] = []
    parts: list[str] = []
    for take in takes:
        signal, gesture = read_myo(take)
        spans = signal.split(torch.unique_consecutive(gesture, return_counts=True)[1].tolist())
        names = gesture.unique_consecutive().tolist()
        foreign = set(names) - {0, int(take.stem)}
        if foreign:
            raise ValueError(
                f"{take} must contain the gestures 0 and {take.stem}, got {sorted(foreign)}; "
                "rename it or get it again"
            )
        person, _, session = take.parent.name.partition("-")
        found += spans
        labels += names
        groups += [person] * len(names)
        parts += ["test" if session == str(HELD_OUT) else "train"] * len(names)
    return Series(
        found,
        torch.tensor(labels),
        GESTURES,
        groups=groups,
        parts=parts,
        rate=RATE,
        source=MYO,
    )
