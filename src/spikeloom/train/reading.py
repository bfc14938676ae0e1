"""Ordinary networks from files, for a conversion.

Nothing is unpickled unless the user trusts the file.
"""

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from ..saving import load
from . import checkpoint
from .exported import exported
from .ordinary import finished

__all__ = ["network", "weights"]

UNREADABLE = (
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    OSError,
    UnpicklingError,
    ArithmeticError,
)


def network(path: Path, trust: bool) -> nn.Module:
    """The network of a file, in evaluation mode.

    Args:
        path: a file of `snn.save`, an ``ordinary.pt`` of the command ``convert``, a ``.pt2`` of
            ``torch.export.save``, or, with ``trust``, a network that was saved as a whole by
            ``torch.save(net, path)``.
        trust: unpickle the file, which runs whatever code it names.

    Raises:
        ValueError: the file is damaged, holds weights only, needs ``trust``, or code that cannot be
            found.
    """
    _check_whole(path)
    if _is_safetensors(path):
        return load(path).eval()
    if checkpoint.whole_file(path):
        return finished(path)
    if _is_exported(path):
        return exported(path)
    found = _trusted(path) if trust else _untrusted(path)
    if not isinstance(found, nn.Module):
        what = "weights only" if _is_weights(found) else f"a {type(found).__name__}"
        raise ValueError(
            f"{path} holds {what}, not a network; name the network whose weights they are, "
            "model=conv "
            f"weights={path}, or save the whole one: snn.save(net, path)"
        )
    return found.eval()


def weights(path: Path, net: nn.Module) -> nn.Module:
    """``net`` with the weights of a file, in evaluation mode.

    Args:
        path: a ``state_dict`` of ``torch.save``, or a safetensors file.
        net: the network whose weights they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds something else, or the weights of another network.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"weights={path} is no file; write the path of a state_dict or a safetensors file"
        )
    _check_whole(path)
    if _is_safetensors(path):
        return load(path, into=net).eval()
    found = finished(path).state_dict() if checkpoint.whole_file(path) else _untrusted(path)
    if not _is_weights(found):
        raise ValueError(
            f"{path} must hold a state_dict, got a {type(found).__name__}; write "
            "torch.save(net.state_dict(), path)"
        )
    try:
        net.load_state_dict(found)
    except RuntimeError as error:
        raise ValueError(
            f"{path} holds the weights of another network: {' '.join(str(error).split())}"
        ) from error
    return net.eval()


def _check_whole(path: Path) -> None:
    """Refuse a damaged archive: torch reads it without a look at its sums."""
    if checkpoint.whole_file(path) is False:
        raise ValueError(
            f"{path} is damaged: its bytes do not have the checksum at its end; make it anew"
        )
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path} is damaged or truncated ({error}); make it anew") from error
    if bad is not None:
        raise ValueError(
            f"{path} is damaged: the bytes of {bad} do not have their checksum; make it anew"
        )


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _is_exported(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("archive_format") for name in archive.namelist())


def _is_weights(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, Tensor) for value in found.values())


def _untrusted(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"{path} holds Python objects or is damaged, and unpickling them runs whatever code "
            "they name; if you "
            "trust the file write trust=True, or save the network without pickle: snn.save(net, "
            "path)"
        ) from error
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _trusted(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ModuleNotFoundError) as error:
        raise ValueError(
            f"{path} needs the code of its network ({error}); run where that can be imported, or "
            "save a traced one: "
            "torch.save(torch.fx.symbolic_trace(net), path)"
        ) from error
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    text = "" if isinstance(error, KeyError) else str(error).partition("\n")[0]
    reason = text or "its bytes are those of another format"
    return ValueError(f"{path} cannot be read as a network or its weights: {reason}; make it anew")
