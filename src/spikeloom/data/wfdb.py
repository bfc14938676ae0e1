"""Electrocardiograms in the WFDB format of PhysioNet, and their heart beats."""

import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import path_of, real, whole
from .damage import damage_named, file_of
from .series import Series, Source

__all__ = ["Electrocardiogram", "heart_beats", "read_wfdb"]

MIT_BIH = Source(
    "MIT-BIH Arrhythmia Database",
    "Open Data Commons Attribution License 1.0",
    "Moody & Mark (2001), IEEE Engineering in Medicine and Biology 20, 45-50; Goldberger et al. "
    "(2000), Circulation 101, e215-e220",
    "physionet.org/content/mitdb/1.0.0",
)
# Symbols of the annotation codes 1 to 41; a space is an unused code.
SYMBOLS = 'NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'
SKIP, NUM, SUB, CHN, AUX = range(59, 64)
BEATS = {"N": "NLRBej", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}
PARTS = {
    "train": "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 "
    "230",
    "test": "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 "
    "234",
}
FORMATS = {"16": -32768, "212": -2048}  # the value of a missing sample in each
GAIN = re.compile(r"(?P<gain>[\d.eE+-]+)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?")
REMEDY = "get the record again from physionet.org"


class Electrocardiogram(NamedTuple):
    """A record and its annotations.

    Attributes:
        signal: [N, channels], float32 in the physical units of the header, mostly mV; NaN where
            samples are missing.
        rate: samples per second.
        channels: descriptions of the channels, such as "MLII".
        positions: sample of each annotation, [A], int64.
        symbols: symbol of each annotation, such as "N" for a normal beat.

    >>> record = Electrocardiogram(torch.zeros(9, 1), 360.0, ("V5",), torch.tensor([4]), ("N",))
    >>> record.signal[record.positions]
    tensor([[0.]])
    """

    signal: Tensor
    rate: float
    channels: tuple[str, ...]
    positions: Tensor
    symbols: tuple[str, ...]


class _Channel(NamedTuple):
    """A signal line of a header."""

    file: str
    form: str
    gain: float
    baseline: int
    checksum: int | None
    description: str


def read_wfdb(path: "str | PathLike[str]") -> Electrocardiogram:
    """Reads a WFDB record of one segment, with the annotations of its ``.atr`` file if it has one.

    Args:
        path: the header ``.hea``, or its name without suffix; the signals are in format 16 or 212.

    Returns:
        The record.

    Raises:
        FileNotFoundError: the header or a signal file is missing.
        ValueError: a file is damaged, its samples contradict the checksum of the header, or the
            record has several segments or another format.

    Source: Moody (2022), WFDB Applications Guide, header(5), signal(5), annot(5).

    >>> folder = Path("ecg")
    >>> folder.mkdir()
    >>> _ = (folder / "1.hea").write_text("1 1 360 2\\n1.dat 16 200 12 0 0 0 0 MLII\\n")
    >>> _ = (folder / "1.dat").write_bytes(bytes([200, 0, 56, 255]))
    >>> read_wfdb("ecg/1").signal
    tensor([[ 1.],
            [-1.]])
    """
    header = path_of("path", path)
    if header.suffix != ".hea":
        header = header.with_name(f"{header.name}.hea")
    header = file_of("path", header, "a WFDB record", "write a path such as mitdb/100")
    with damage_named(header, "a WFDB header", REMEDY):
        text = header.read_text(encoding="ascii")
        rate, length, channels = _header(text)
    signal = np.empty((length, len(channels)), np.float32)
    for file in dict.fromkeys(channel.file for channel in channels):
        chosen = [i for i, channel in enumerate(channels) if channel.file == file]
        of_file = [channels[i] for i in chosen]
        data = header.with_name(file)
        file_of(f"the signals of {header.name}", data, "in a file beside it", REMEDY)
        with damage_named(data, f"the signals of {header.name}", REMEDY):
            signal[:, chosen] = _signals(data.read_bytes(), length, of_file)
    positions, symbols = np.empty(0, np.int64), []
    notes = header.with_suffix(".atr")
    if notes.exists():
        with damage_named(notes, "a WFDB annotation file", REMEDY):
            positions, symbols = _annotations(notes.read_bytes(), length)
    names = tuple(channel.description for channel in channels)
    return Electrocardiogram(
        torch.from_numpy(signal), rate, names, torch.from_numpy(positions), tuple(symbols)
    )


def heart_beats(root: "str | PathLike[str]", *, window: float = 1.0, channel: int = 0) -> Series:
    """Heart beats of a folder of WFDB records, each centred on its annotated R peak.

    Beats whose window exceeds the record or contains missing samples are left out.

    Args:
        root: the folder of ``.hea``, ``.dat`` and ``.atr`` files.
        window: duration of a beat, in seconds.
        channel: index of the channel.

    Returns:
        Series of beats [T, 1]; classes N, S, V, F, Q of the AAMI, groups being the records. Records
        of MIT-BIH with a published division between patients have the parts "train" and "test";
        the others, the paced ones among them, "none".

    Raises:
        FileNotFoundError: there is no such folder, or a file of a record is missing.
        ValueError: a record is damaged, has no annotations or another rate than the first one, or
            there is no record.

    Source: ANSI/AAMI EC57 for the classes; de Chazal, O'Dwyer & Reilly (2004), IEEE Trans. Biomed.
    Eng. 51, 1196-1206, for the division.

    >>> folder = Path("beats")
    >>> folder.mkdir()
    >>> _ = (folder / "100.hea").write_text("100 1 8 16\\n100.dat 16 1 12 0 0 0 0 MLII\\n")
    >>> _ = (folder / "100.dat").write_bytes(bytes(32))
    >>> _ = (folder / "100.atr").write_bytes(bytes([8, 5 << 2, 0, 0]))  # a beat V at sample 8
    >>> beats = heart_beats(folder)
    >>> beats.recordings[0].shape, beats.classes[beats.labels[0]], beats.parts
    (torch.Size([8, 1]), 'V', ('test',))
    """
    folder = path_of("root", root)
    real("window", window, 0.0, open_low=True)
    channel = whole("channel", channel)
    if not folder.is_dir():
        raise FileNotFoundError(f"root must be a folder of WFDB records, and there is no {folder}")
    headers = sorted(folder.glob("*.hea"))
    if not headers:
        raise ValueError(f"{folder} must hold WFDB headers (.hea), got none; extract the archive")
    kinds = {symbol: index for index, group in enumerate(BEATS.values()) for symbol in group}
    division = {name: part for part, names in PARTS.items() for name in names.split()}
    found: list[Tensor] = []
    labels: list[int] = []
    groups: list[str] = []
    rate = None
    for header in headers:
        record = read_wfdb(header)
        rate = record.rate if rate is None else rate
        _check_record(header, record, rate, channel)
        size = round(window * rate)
        for position, symbol in zip(record.positions.tolist(), record.symbols, strict=True):
            start = position - size // 2
            if symbol not in kinds or start < 0 or start + size > len(record.signal):
                continue
            beat = record.signal[start : start + size, channel : channel + 1]
            if bool(beat.isfinite().all()):
                found.append(beat.clone())
                labels.append(kinds[symbol])
                groups.append(header.stem)
    return Series(
        found,
        torch.tensor(labels, dtype=torch.int64),
        tuple(BEATS),
        groups=groups,
        parts=[division.get(name, "none") for name in groups],
        rate=rate,
        source=MIT_BIH,
    )


def _check_record(header: Path, record: Electrocardiogram, rate: float, channel: int) -> None:
    """Refuses a record without annotations, of another rate, or without the channel."""
    if not record.symbols:
        raise ValueError(f"{header} must have annotations in {header.stem}.atr; {REMEDY}")
    if record.rate != rate:
        raise ValueError(
            f"{header} must have the rate of the folder's first record, {rate:g} Hz, got "
            f"{record.rate:g}; put it into another folder"
        )
    if channel >= len(record.channels):
        raise ValueError(
            f"channel must be below {len(record.channels)}, the number of channels of {header}, "
            f"got {channel}; write channel=0"
        )


def _header(text: str) -> tuple[float, int, list[_Channel]]:
    """Rate, number of samples and channels of a header."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    record = lines[0].split() if lines else []
    if len(record) < 4:
        raise ValueError("it has no record line of name, channels, rate and samples")
    if "/" in record[0]:
        raise ValueError("it has several segments, which are not read")
    number = int(record[1])
    rate = float(re.split(r"[/(]", record[2])[0])
    length = int(record[3])
    if number < 1 or length < 1 or not 0 < rate < float("inf"):
        raise ValueError(f"it has {number} channels of {length} samples at {rate:g} Hz")
    if len(lines) != 1 + number:
        raise ValueError(f"it has {len(lines) - 1} lines of {number} channels")
    return rate, length, [_channel(line) for line in lines[1:]]


def _channel(line: str) -> _Channel:
    """A signal line: file, format, gain(baseline)/unit, bits, zero, first value, checksum."""
    fields = line.split(maxsplit=8)
    if len(fields) < 2:
        raise ValueError(f"the line {line!r} has no file and format")
    if fields[1] not in FORMATS:
        raise ValueError(f"format {fields[1]} of the signals is not read, only 16 and 212")
    if Path(fields[0]).name != fields[0]:
        raise ValueError(f"the signal file {fields[0]!r} is not in the folder of the header")
    zero = int(fields[4]) if len(fields) > 4 else 0
    gain, baseline = 200.0, zero
    if len(fields) > 2:
        found = GAIN.fullmatch(fields[2])
        if found is None:
            raise ValueError(f"the line {line!r} has no gain")
        gain = float(found["gain"]) or 200.0
        baseline = zero if found["baseline"] is None else int(found["baseline"])
    checksum = int(fields[6]) if len(fields) > 6 else None
    description = fields[8].strip() if len(fields) > 8 else ""
    return _Channel(fields[0], fields[1], gain, baseline, checksum, description)


def _signals(raw: bytes, length: int, channels: list[_Channel]) -> np.ndarray:
    """Physical values of the channels of one file, [N, channels]."""
    forms = {channel.form for channel in channels}
    if len(forms) > 1:
        raise ValueError(f"its channels have the formats {', '.join(sorted(forms))}")
    form = forms.pop()
    number = length * len(channels)
    size = 2 * number if form == "16" else (3 * number + 1) // 2
    if not size <= len(raw) <= size + 1:  # format 212 may be padded to whole triples
        raise ValueError(f"{len(raw)} of {size} bytes")
    if form == "16":
        values = np.frombuffer(raw[:size], "<i2").astype(np.int64)
    else:
        values = _packed(raw[:size])[:number]
    values = values.reshape(length, len(channels))
    for index, channel in enumerate(channels):
        total = int(values[:, index].sum())
        if channel.checksum is not None and (total - channel.checksum) % 65536:
            raise ValueError(
                f"the samples of channel {index} have the checksum {total % 65536}, the header has "
                f"{channel.checksum % 65536}"
            )
    gain = np.array([channel.gain for channel in channels])
    baseline = np.array([channel.baseline for channel in channels])
    return np.where(values == FORMATS[form], np.nan, (values - baseline) / gain)


def _packed(raw: bytes) -> np.ndarray:
    """Values of format 212: two of 12 bits in 3 bytes."""
    triples = np.frombuffer(raw + bytes(-len(raw) % 3), np.uint8).reshape(-1, 3).astype(np.int64)
    low, middle, high = triples.T
    values = np.stack([low | (middle & 15) << 8, high | (middle >> 4) << 8], axis=1).reshape(-1)
    return np.where(values > 2047, values - 4096, values)


def _annotations(raw: bytes, length: int) -> tuple[np.ndarray, list[str]]:
    """Positions and symbols of an annotation file."""
    words = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2").tolist()
    positions: list[int] = []
    symbols: list[str] = []
    at = time = 0
    while at < len(words):
        code, interval = words[at] >> 10, words[at] & 1023
        at += 1
        if code == 0 and interval == 0:
            return np.array(positions, np.int64), symbols
        if code == SKIP:
            time += int(np.array(words[at] << 16 | words[at + 1], np.uint32).view(np.int32))
            at += 2
        elif code == AUX:
            at += (interval + 1) // 2
        elif code not in (NUM, SUB, CHN):
            time += interval
            if not 0 <= time < length:
                raise ValueError(f"annotation {len(symbols)} is at sample {time} of {length}")
            if not 0 < code <= len(SYMBOLS) or SYMBOLS[code - 1] == " ":
                raise ValueError(f"annotation {len(symbols)} has the unknown code {code}")
            positions.append(time)
            symbols.append(SYMBOLS[code - 1])
    raise ValueError("it has no end mark")
