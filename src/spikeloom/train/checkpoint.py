"""What a training run needs to go on bit for bit, in a file that knows whether it is whole.

A checkpoint is a file of ``torch.save`` with a SHA-256 sum of all its bytes at the end, as the
comment of the zip archive that it is: torch reads it as any other, without looking at the sums that
the archive has of its own.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from ..files import atomic

__all__ = [
    "FORMAT",
    "atomic",
    "load",
    "random_state",
    "restore_random_state",
    "save",
    "whole_file",
    "write",
]

FORMAT = 3
MARK = b"spikeloom sha256 "
COMMENT = len(MARK) + 64
BLOCK = 1 << 20


def save(path: Path, state: dict[str, Any], before: Callable[[], None] | None = None) -> None:
    """Write a checkpoint atomically. ``state`` holds tensors and plain values only.

    Args:
        path: of the file.
        state: what it holds.
        before: called when the file is complete, before it takes its name.

    Raises:
        OSError: it cannot be written.

    >>> save(Path("checkpoint.pt"), {"epoch": 3})
    >>> load(Path("checkpoint.pt"))["epoch"]
    3
    """
    write(path, {"format": FORMAT, **state}, before)


def write(path: Path, content: Any, before: Callable[[], None] | None = None) -> None:
    """Write any value as `torch.save` does, atomically and with its checksum."""
    with atomic(path, before) as temporary:
        with temporary.open("wb") as file:
            stream: Any = _Stream(file)
            try:
                torch.save(content, stream)
            except RuntimeError as error:  # torch's writer hides why a write failed
                if stream.error is None:
                    raise
                raise stream.error from error
        with temporary.open("rb+") as file:
            _seal(file)


class _Stream:
    """A file for `torch.save` that remembers the error of a write."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.error = file, None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self.file.flush()
        except OSError as error:
            self.error = error
            raise


def _seal(file: IO[bytes]) -> None:
    """Append the checksum as the comment of the archive."""
    file.seek(-2, io.SEEK_END)
    file.write(COMMENT.to_bytes(2, "little") + MARK)
    file.flush()
    digest = _sha256(file, file.tell())
    file.seek(0, io.SEEK_END)
    file.write(digest)


def _sha256(file: IO[bytes], size: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0:
        block = file.read(min(BLOCK, size))
        digest.update(block)
        size -= len(block) or size
    return digest.hexdigest().encode()


def whole_file(path: Path) -> bool | None:
    """Whether a file is as it was written; None if it has no checksum.

    >>> write(Path("a.pt"), {"a": 1})
    >>> whole_file(Path("a.pt"))
    True
    >>> _ = Path("a.pt").write_bytes(Path("a.pt").read_bytes()[:-1])
    >>> whole_file(Path("a.pt"))
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - COMMENT))
        comment = file.read()
        if not comment.startswith(MARK):
            return None
        return _sha256(file, size - 64) == comment[len(MARK) :]


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU. Nothing is unpickled but tensors and plain values.

    Raises:
        ValueError: the file is damaged or truncated, or no checkpoint of this version.
        OSError: it cannot be read.
    """
    whole = whole_file(path)
    if not whole:
        found = "its checksum is missing, so that it is truncated, or no checkpoint of this version"
        raise ValueError(
            f"{path} is damaged: "
            f"{found if whole is None else 'its bytes do not have the checksum at its end'}; "
            "restore it from a copy, or begin again with force=True"
        )
    state = read(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"{path} must be a checkpoint of format {FORMAT}, got {found}; train again with "
            "force=True"
        )
    return state


def read(path: Path) -> Any:
    """The content of a file of `torch.save` that holds tensors and plain values only.

    Raises:
        ValueError: it holds something else, or cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"{path} must hold tensors and plain values only, and it holds other objects"
        ) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        OSError,
    ) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path} cannot be read, it is damaged or no file of torch.save: {reason}"
        ) from error


def random_state(
    device: torch.device, order: torch.Generator | None, own: Sequence[torch.Generator] = ()
) -> dict[str, torch.Tensor]:
    """The states of torch's generators for the CPU and ``device``, and of others.

    Args:
        device: besides the CPU.
        order: generator of the order of the samples.
        own: generators of the network.

    >>> state = random_state(torch.device("cpu"), None)
    >>> a = torch.rand(1)
    >>> restore_random_state(state, torch.device("cpu"), None)
    >>> bool(a == torch.rand(1))
    True
    """
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if order is not None:
        states["order"] = order.get_state()
    return states | {f"net.{i}": generator.get_state() for i, generator in enumerate(own)}


def restore_random_state(
    states: dict[str, torch.Tensor],
    device: torch.device,
    order: torch.Generator | None,
    own: Sequence[torch.Generator] = (),
) -> None:
    """Undo all random draws since `random_state`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if order is not None and "order" in states:
        order.set_state(states["order"])
    for i, generator in enumerate(own):
        if f"net.{i}" in states:
            generator.set_state(states[f"net.{i}"])
