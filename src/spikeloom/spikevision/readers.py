"""Readers of the formats in which event data sets were published.

Each returns a structured array of `spikeloom.data.EVENT` with times in microseconds, in the order
of the file.
"""

import re
import struct
from pathlib import Path

import numpy as np

from ..data.events import EVENT

__all__ = ["read_aedat", "read_gesture_labels", "read_nmnist"]

# Type, source, size, timestamp offset, overflow, capacity, number, valid.
PACKET = struct.Struct("<HHIIIIII")
POLARITY = 1
POLARITY_SIZE = 8  # bytes of an event: 32 bits of address and 32 bits of time
ATIS = 34  # rows and columns of the N-MNIST recordings
NO_PIXEL = 240  # row of an ATIS event that marks a wrap of the clock
WRAP = 1 << 13
ROW = re.compile(rb"\s*(\d{1,18})\s*,\s*(\d{1,18})\s*,\s*(\d{1,18})\s*")


def read_nmnist(raw: bytes, name: str = "recording") -> np.ndarray:
    """Events of an N-MNIST file: 8 bits of x, 8 of y, 1 of polarity and 23 of time each.

    Args:
        raw: content of the file.
        name: its name in error messages.

    Raises:
        ValueError: its length is not a multiple of 5, or an address is outside the sensor of 34 x
            34 pixels.

    Source: Orchard, Jayawant, Cohen & Thakor (2015), N-MNIST, "File format" of its page.

    >>> read_nmnist(bytes([3, 4, 128, 1, 2])).tolist()
    [(3, 4, 258, 1)]
    """
    if len(raw) % 5:
        raise ValueError(
            f"an N-MNIST file must have 5 bytes for each event, got {len(raw)} bytes in {name}; "
            "get it again"
        )
    x, y, high, middle, low = np.frombuffer(raw, np.uint8).reshape(-1, 5).T.astype(np.int64)
    wraps = y == NO_PIXEL
    outside = ~wraps & ((x >= ATIS) | (y >= ATIS))
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(
            f"addresses must be in [0, {ATIS - 1}], got ({x[first]}, {y[first]}) at event {first} "
            f"of {name}; get it again"
        )
    events = np.empty(len(x), EVENT)
    events["x"] = x
    events["y"] = y
    events["p"] = high >> 7
    events["t"] = ((high & 127) << 16 | middle << 8 | low) + WRAP * np.cumsum(wraps)
    return events[~wraps]


def read_aedat(path: Path) -> np.ndarray:
    """Polarity events of an AEDAT 3.1 file, without those marked invalid.

    Args:
        path: the file.

    Raises:
        ValueError: it is not AEDAT 3, it is truncated, or the header of a packet is inconsistent.

    Source: libcaer, events/common.h and events/polarity.h, for packets and bits.
    """
    raw = path.read_bytes()
    if not raw.startswith(b"#!AER-DAT3."):
        raise ValueError(
            f"an AEDAT 3 file must begin with #!AER-DAT3., got {raw[:12]!r} in {path}; convert or "
            "replace it"
        )
    at = _after_header(raw)
    packets = [np.empty(0, EVENT)]
    while at < len(raw):
        if len(raw) - at < PACKET.size:
            raise ValueError(
                f"{path} must consist of whole packets, got {len(raw) - at} bytes at its end; get "
                "it again"
            )
        kind, _, size, offset, overflow, capacity, number, valid = PACKET.unpack_from(raw, at)
        where = f"at byte {at} of {path}"
        if not valid <= number <= capacity:
            raise ValueError(
                f"a packet must hold valid <= number <= capacity events, got {valid}, {number} and "
                f"{capacity} {where}; get the file again"
            )
        at += PACKET.size
        if len(raw) - at < size * number:
            raise ValueError(
                f"{path} must consist of whole packets, got one that is cut at {len(raw)}; get it "
                "again"
            )
        if kind == POLARITY:
            if size != POLARITY_SIZE or offset != 4 or overflow >= 1 << 31:
                raise ValueError(
                    f"a polarity packet must have events of {POLARITY_SIZE} bytes with the time at "
                    f"byte 4 and an overflow below 2^31, got {size}, {offset} and {overflow} "
                    f"{where}; get the file again"
                )
            packets.append(_polarity_events(raw[at : at + size * number], overflow, where))
        at += size * number
    return np.concatenate(packets)


def _after_header(raw: bytes) -> int:
    """Position of the first packet, behind the text header."""
    at = 0
    while raw[at : at + 1] == b"#":
        end = raw.find(b"\n", at) + 1 or len(raw)
        if raw.startswith(b"#!END-HEADER", at):
            return end
        at = end
    return at


def _polarity_events(raw: bytes, overflow: int, where: str) -> np.ndarray:
    """Events of one packet: 32 bits of address and 32 bits of time each."""
    address, time = np.frombuffer(raw, "<u4").reshape(-1, 2).T
    if (time >= 1 << 31).any():
        raise ValueError(
            f"times of a packet must be below 2^31, got {time.max()} {where}; get the file again"
        )
    events = np.empty(len(address), EVENT)
    events["x"] = address >> 17
    events["y"] = address >> 2 & 0x7FFF
    events["p"] = address >> 1 & 1
    events["t"] = time.astype(np.int64) + (overflow << 31)
    return events[address & 1 == 1]


def read_gesture_labels(path: Path) -> np.ndarray:
    """Class (from 1), start and end in microseconds of each gesture in a recording, [N, 3].

    Raises:
        ValueError: a line does not hold three numbers, or a gesture ends before it starts.

    >>> _ = Path("labels.csv").write_text("class,startTime_usec,endTime_usec\\n2,100,200\\n")
    >>> read_gesture_labels(Path("labels.csv")).tolist()
    [[2, 100, 200]]
    """
    lines = path.read_bytes().split(b"\n")[1:]
    rows = []
    for line in lines:
        if not line.strip():
            continue
        row = ROW.fullmatch(line.strip())
        if row is None or int(row[2]) > int(row[3]):
            shown = line[:40].decode("ascii", "backslashreplace").strip()
            raise ValueError(
                f"{path} must hold lines class,start,end in whole numbers, got {shown!r}; get it "
                "again"
            )
        rows.append([int(field) for field in row.groups()])
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
