"""Events made at random, and files of them in the published formats."""

import struct

import numpy as np
import torch

from spikeloom.data import EVENT


def some_events(number=200, size=(5, 4, 2), seed=0):
    """Random events in no order."""
    random = np.random.default_rng(seed)
    events = np.zeros(number, EVENT)
    for field, high in (("x", size[0]), ("y", size[1]), ("p", size[2]), ("t", 1000)):
        events[field] = random.integers(0, high, number)
    return events


def events_of(number, size, duration, seed=0):
    """Random events in order of time, the first at a time that is not 0."""
    random = np.random.default_rng(seed)
    events = np.zeros(number, EVENT)
    events["x"], events["y"] = (
        random.integers(0, size[0], number),
        random.integers(0, size[1], number),
    )
    events["p"], events["t"] = (
        random.integers(0, 2, number),
        777 + np.sort(random.integers(0, duration, number)),
    )
    return events


def counted(events, num_steps, dt, size, ds=(1, 1)):
    """Frames by a plain loop: [T, 2, H, W], time from the first event, what lies outside left
    out."""
    frames = torch.zeros(num_steps, 2, size // ds[1], size // ds[0])
    start = events["t"].min()
    for x, y, t, p in events.tolist():
        if (t - start) // dt < num_steps and x < size and y < size:
            frames[(t - start) // dt, p, y // ds[1], x // ds[0]] += 1
    return frames


def nmnist_bytes(events, wrap_at=None):
    """N-MNIST; with ``wrap_at`` a clock event is put there, and later times lose what it adds."""
    rows, lost = [], 0
    for i, (x, y, t, p) in enumerate(events.tolist()):
        if i == wrap_at:
            rows.append(bytes([0, 240, 0, 0, 0]))
            lost = 1 << 13
        t -= lost
        rows.append(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]))
    return b"".join(rows)


def aedat_bytes(events, packet=50, overflow=0):
    """AEDAT 3.1 as recorded: text header, packets of polarity events, one of another type, one
    event marked invalid."""
    raw = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n"
    raw += b"#Start-Time: 2016-11-10\r\n#!END-HEADER\r\n"
    raw += struct.pack("<HHIIIIII", 0, 1, 8, 4, 0, 1, 1, 1) + bytes(8)
    for start in range(0, len(events), packet):
        part = events[start : start + packet]
        body = [
            struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t - (overflow << 31))
            for x, y, t, p in part.tolist()
        ]
        body.append(struct.pack("<II", 5 << 17, 0))  # marked invalid
        raw += struct.pack(
            "<HHIIIIII", 1, 1, 8, 4, overflow, len(body), len(body), len(part)
        ) + b"".join(body)
    return raw


def write_nmnist(root, digits=(3, 3, 7), part="Train"):
    made = []
    for i, digit in enumerate(digits):
        folder = root / part / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        events = events_of(300, (34, 34), 300_000, seed=i)
        (folder / f"{i:05d}.bin").write_bytes(nmnist_bytes(events))
        made.append((events, digit))
    return made


GESTURES = ((1, 1000, 40_000), (11, 50_000, 99_000), (8, 200_000, 300_000))


def write_gestures(root, user, light="fluorescent_led", seed=0):
    root.mkdir(parents=True, exist_ok=True)
    events = events_of(900, (128, 128), 300_000, seed)
    (root / f"user{user:02d}_{light}.aedat").write_bytes(aedat_bytes(events))
    rows = "".join(f"{label},{start},{end}\n" for label, start, end in GESTURES)
    (root / f"user{user:02d}_{light}_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n" + rows
    )
    return [events[(events["t"] >= start) & (events["t"] < end)] for _, start, end in GESTURES]
