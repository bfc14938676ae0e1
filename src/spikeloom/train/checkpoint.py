"""Files that are either old or new, never half written; and what a training run needs to go on bit for bit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

__all__ = ["FORMAT", "atomic", "load", "random_state", "restore_random_state", "save"]

FORMAT = 1


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it at the end of the block, unless the block raises.

    >>> with atomic(Path("note.txt")) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> Path("note.txt").read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # a rename may reach the disk before the data do
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically. ``state`` holds tensors and plain values only.

    >>> save(Path("checkpoint.pt"), {"epoch": 3})
    >>> load(Path("checkpoint.pt"))["epoch"]
    3
    """
    with atomic(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU.

    Raises:
        ValueError: the file is no checkpoint of this version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} must be a checkpoint of spikeloom, and it cannot be read: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path} must be a checkpoint of format {FORMAT}, got {found}; train again with force=True")
    return state


def random_state(device: torch.device, order: torch.Generator | None) -> dict[str, torch.Tensor]:
    """The states of torch's global generators for the CPU and ``device``, and of the one of the data order.

    >>> state = random_state(torch.device("cpu"), None)
    >>> a = torch.rand(1); restore_random_state(state, torch.device("cpu"), None); bool(a == torch.rand(1))
    True
    """
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if order is not None:
        states["order"] = order.get_state()
    return states


def restore_random_state(states: dict[str, torch.Tensor], device: torch.device, order: torch.Generator | None) -> None:
    """Undo all random draws since `random_state`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if order is not None and "order" in states:
        order.set_state(states["order"])
