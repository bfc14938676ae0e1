"""Reads and writes the safetensors format: the length of the header, a JSON header, and tensors.

The format contains no code and needs no pickle. This implementation does not need the package of
that name, so that networks can be saved with the plain installation. The two are compatible in both
directions.

Source: the format's description, github.com/huggingface/safetensors, README, "Format".
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import atomic

__all__ = ["read", "write"]

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # bytes, as in the format's description
# Key of the checksum of the header, with 64 zeros in place of the checksum, and of the tensors.
SUM = "spikeloom.sha256"


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    before: Callable[[], None] | None = None,
) -> None:
    """Writes tensors and texts atomically, with a checksum in the metadata.

    Args:
        path: path of the file.
        tensors: tensors by name.
        metadata: texts by name.
        before: called when the file is complete, before it replaces an earlier one.

    Raises:
        TypeError: the format does not have the dtype of a tensor.
        OSError: the file cannot be written.

    >>> write(Path("a.safetensors"), {"w": torch.arange(3)}, {"note": "three"})
    >>> read(Path("a.safetensors"))
    ({'w': tensor([0, 1, 2])}, {'note': 'three'})
    """
    header: dict[str, Any] = {"__metadata__": {**metadata, SUM: "0" * 64}}
    parts = []
    position = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise TypeError(
                f"{name} has dtype {tensor.dtype}, which safetensors cannot hold; convert it first"
            )
        data = _bytes(tensor)
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + len(data)],
        }
        position += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    text = text.replace(b"0" * 64, _sum(text, parts).encode(), 1)
    with atomic(path, before) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for data in parts:
            file.write(data)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors, on the CPU, and the texts of a file.

    Raises:
        ValueError: the file is damaged, truncated, or has another format.
        OSError: it cannot be read.
    """
    raw = path.read_bytes()
    try:
        header, start = _header(raw)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(
            isinstance(text, str) for text in metadata.values()
        ):
            raise ValueError("its metadata are not strings")
        found = metadata.pop(SUM, None)
        if found is None and any(name.startswith("spikeloom.") for name in metadata):
            raise ValueError("its checksum is missing")
        if found is not None:
            blank = raw[8:start].replace(found.encode(), b"0" * 64, 1)
            if _sum(blank, [memoryview(raw)[start:]]) != found:
                raise ValueError("its checksum does not match its bytes")
        return _tensors(header, raw, start), metadata
    except ValueError as error:
        raise ValueError(
            f"{path} must be a safetensors file, got a damaged or different one ({error}); get or "
            "save it again"
        ) from error


def _header(raw: bytes) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or not 2 <= length <= min(LONGEST_HEADER, len(raw) - 8):
        raise ValueError("it ends before its header does")
    try:
        header = json.loads(raw[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (UnicodeDecodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError("its header is not JSON") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is twice in its header")
    return found


def _tensors(header: dict[str, Any], raw: bytes, start: int) -> dict[str, Tensor]:
    """Reads the tensors; each byte must belong to exactly one of them."""
    tensors = {}
    spans = []
    for name, entry in header.items():
        dtype, shape, first, last = _entry(name, entry)
        size = math.prod(shape) * dtype.itemsize
        if last - first != size or last > len(raw) - start:
            raise ValueError(
                f"{name} needs {size} bytes, and has {last - first} of {len(raw) - start}"
            )
        spans.append((first, last))
        # The copy is writable and aligned.
        data = bytearray(memoryview(raw)[start + first : start + last])
        tensors[name] = _tensor(data, dtype, shape)
    ends = [0, *(last for _, last in sorted(spans))]
    if ends[-1] != len(raw) - start or any(
        a != b for a, (b, _) in zip(ends, sorted(spans), strict=False)
    ):
        raise ValueError("its tensors overlap, or do not cover all bytes")
    return tensors


def _entry(name: str, entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} must have dtype, shape and data_offsets")
    dtype = DTYPES.get(str(entry["dtype"]))
    shape = entry["shape"]
    offsets = entry["data_offsets"]
    if dtype is None:
        raise ValueError(f"{name} has the unknown dtype {entry['dtype']!r}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(
            type(n) is int and 0 <= n < 1 << 48 for n in numbers
        ):
            raise ValueError(f"{name} must have whole numbers as shape and offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"{name} must have two offsets in order")
    return dtype, shape, offsets[0], offsets[1]


def _tensor(data: bytearray, dtype: torch.dtype, shape: list[int]) -> Tensor:
    if not data:
        return torch.zeros(shape, dtype=dtype)
    flat = torch.frombuffer(_little(data, dtype.itemsize), dtype=torch.uint8)
    if dtype == torch.bool and bool((flat > 1).any()):
        raise ValueError("a boolean is neither 0 nor 1")
    return flat.view(dtype).reshape(shape)


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = bytearray(flat.view(torch.uint8).numpy().tobytes())
    return bytes(_little(data, tensor.dtype.itemsize))


def _little(data: bytearray, size: int) -> bytearray:
    """Converts bytes of numbers between native order and little endian."""
    if sys.byteorder == "little" or size == 1:
        return data
    return bytearray(np.frombuffer(data, np.uint8).reshape(-1, size)[:, ::-1].tobytes())


def _sum(header: bytes, parts: list[Any]) -> str:
    digest = hashlib.sha256(header)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
