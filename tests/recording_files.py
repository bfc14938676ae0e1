"""Small files of recordings in published formats, written byte by byte."""

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["annotation_bytes", "packed_212", "write_record", "write_wav"]


def write_wav(path: Path, values: np.ndarray, rate: int = 8000) -> None:
    """A wav file of 16 bits; ``values`` are the whole numbers in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(values, "<i2").tobytes())


def packed_212(values: Sequence[int]) -> bytes:
    """Pairs of 12-bit numbers in three bytes: low byte, both high halves, low byte."""
    raw = bytearray()
    padded = [value & 0xFFF for value in values] + [0] * (len(values) % 2)
    for a, b in zip(padded[::2], padded[1::2], strict=True):
        raw += bytes([a & 255, a >> 8 | b >> 8 << 4, b & 255])
    return bytes(raw)


CODES = {"N": 1, "V": 5, "F": 6, "A": 8, "Q": 13, "+": 28, "/": 12}


def annotation_bytes(beats: Sequence[tuple[int, str]], note: str = "") -> bytes:
    """Annotations at samples; intervals above 1023 take a SKIP, ``note`` is attached to each."""
    raw, time = bytearray(), 0
    for at, symbol in beats:
        interval, time = at - time, at
        if interval > 1023:
            raw += (59 << 10).to_bytes(2, "little")
            raw += (interval >> 16).to_bytes(2, "little") + (interval & 0xFFFF).to_bytes(
                2, "little"
            )
            interval = 0
        raw += (CODES[symbol] << 10 | interval).to_bytes(2, "little")
        if note:
            raw += (63 << 10 | len(note)).to_bytes(2, "little") + note.encode()
            raw += bytes(len(note) % 2)
    return bytes(raw + b"\0\0")


def write_record(
    folder: Path,
    name: str,
    values: np.ndarray,
    beats: Sequence[tuple[int, str]] = (),
    *,
    form: str = "212",
    rate: int = 10,
    gain: str = "200(1)/mV",
) -> None:
    """A WFDB record of ``values`` [N, channels], whole numbers, with its checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    length, channels = values.shape
    lines = [f"# made by a test\n{name} {channels} {rate} {length} 12:00:00"]
    for index in range(channels):
        total = int(values[:, index].sum())
        checksum = (total + 32768) % 65536 - 32768
        lines.append(
            f"{name}.dat {form} {gain} 11 1024 {values[0, index]} {checksum} 0 lead {index}"
        )
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    flat = values.reshape(-1)
    raw = packed_212(flat.tolist()) if form == "212" else flat.astype("<i2").tobytes()
    (folder / f"{name}.dat").write_bytes(raw)
    if beats:
        (folder / f"{name}.atr").write_bytes(annotation_bytes(beats))
