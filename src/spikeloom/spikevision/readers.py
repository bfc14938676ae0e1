"""Readers of the formats in which event data sets were published.

Each returns a structured array of `spikeloom.data.EVENT` with times in microseconds, in the order of the file.
"""

import struct
from pathlib import Path

import numpy as np

from ..data.events import EVENT

__all__ = ["read_aedat", "read_gesture_labels", "read_nmnist"]

PACKET = struct.Struct("<HHIIIIII")  # type, source, size, timestamp offset, overflow, capacity, number, valid
POLARITY = 1
NO_PIXEL = 240  # row of an ATIS event that only says that the clock has wrapped
WRAP = 1 << 13


def read_nmnist(raw: bytes, name: str = "recording") -> np.ndarray:
    """Events of an N-MNIST file: 5 bytes each, for x, y, and 1 bit of polarity with 23 bits of time.

    Args:
        raw: content of the file.
        name: how an error names it.

    Raises:
        ValueError: its length is no multiple of 5.

    Source: Orchard, Jayawant, Cohen & Thakor (2015), N-MNIST, "File format" of its page.

    >>> read_nmnist(bytes([3, 4, 128, 1, 2])).tolist()
    [(3, 4, 258, 1)]
    """
    if len(raw) % 5:
        raise ValueError(
            f"an N-MNIST file must have 5 bytes for each event, got {len(raw)} bytes in {name}; get it again"
        )
    x, y, high, middle, low = np.frombuffer(raw, np.uint8).reshape(-1, 5).T.astype(np.int64)
    wraps = y == NO_PIXEL
    events = np.empty(len(x), EVENT)
    events["x"], events["y"], events["p"] = x, y, high >> 7
    events["t"] = ((high & 127) << 16 | middle << 8 | low) + WRAP * np.cumsum(wraps)
    return events[~wraps]


def read_aedat(path: Path) -> np.ndarray:
    """Polarity events of an AEDAT 3.1 file; those marked invalid are left out.

    Args:
        path: the file.

    Raises:
        ValueError: it is not AEDAT 3, or it is truncated.

    Source: libcaer, events/common.h and events/polarity.h, for packets and bits.
    """
    raw = path.read_bytes()
    if not raw.startswith(b"#!AER-DAT3."):
        raise ValueError(
            f"an AEDAT 3 file must begin with #!AER-DAT3., got {raw[:12]!r} in {path}; convert or replace it"
        )
    at = 0
    while raw[at : at + 1] == b"#":
        end = raw.find(b"\n", at) + 1
        line, at = raw[at:end], end or len(raw)
        if line.startswith(b"#!END-HEADER"):
            break
    packets = [np.empty(0, EVENT)]
    while at < len(raw):
        if len(raw) - at < PACKET.size:
            raise ValueError(
                f"{path} must consist of whole packets, got {len(raw) - at} bytes at its end; get it again"
            )
        kind, _, size, _, overflow, _, number, _ = PACKET.unpack_from(raw, at)
        at += PACKET.size
        if len(raw) - at < size * number:
            raise ValueError(f"{path} must consist of whole packets, got one that is cut at {len(raw)}; get it again")
        if kind == POLARITY:
            packets.append(polarity_events(raw[at : at + size * number], overflow))
        at += size * number
    return np.concatenate(packets)


def polarity_events(raw: bytes, overflow: int) -> np.ndarray:
    """Events of one packet: 32 bits of address and 32 bits of time each."""
    address, time = np.frombuffer(raw, "<u4").reshape(-1, 2).T
    events = np.empty(len(address), EVENT)
    events["x"], events["y"], events["p"] = address >> 17, address >> 2 & 0x7FFF, address >> 1 & 1
    events["t"] = time.astype(np.int64) + (overflow << 31)
    return events[address & 1 == 1]


def read_gesture_labels(path: Path) -> np.ndarray:
    """Class (from 1), start and end in microseconds of each gesture in a recording, [N, 3].

    Raises:
        ValueError: a line does not hold three numbers.

    >>> _ = Path("labels.csv").write_text("class,startTime_usec,endTime_usec\\n2,100,200\\n")
    >>> read_gesture_labels(Path("labels.csv")).tolist()
    [[2, 100, 200]]
    """
    lines = path.read_text(encoding="ascii").split("\n")[1:]
    rows = [line.strip().split(",") for line in lines if line.strip()]
    if any(len(row) != 3 or not all(field.strip().isdigit() for field in row) for row in rows):
        raise ValueError(f"{path} must hold lines class,start,end in whole numbers, got other ones; get it again")
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
