"""Saves and loads networks without pickle: `save` and `load`.

The file format is safetensors: the weights, and the architecture as JSON in the metadata, with one
checksum. Reading a file executes nothing from it.
"""

import json
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, overload

from torch import Tensor, nn

from ..core.numbers import network, path_of
from . import safetensors
from .architecture import FORMAT, KEY, build, contents, weights

__all__ = ["load", "save"]

Net = TypeVar("Net", bound=nn.Module)
OF_RUNS = "net.safetensors"  # the network in the folder of a run


def save(net: nn.Module | dict[str, Tensor], path: "str | PathLike[str]") -> Path:
    """Writes the weights and the architecture of a network to a safetensors file.

    The write is atomic. The network is a known layer or a nested ``nn.Sequential`` of known layers:
    the common layers of ``torch.nn``, the neurons and layers of this library, and neurons of your
    own, whose module must be imported before `load`; or a converted network. States of neurons are
    not saved.

    Args:
        net: the network; or, for a network with its own class, its ``state_dict``, which `load`
            reads with ``into``.
        path: path of the file, such as ``"net.safetensors"``.

    Returns:
        The path.

    Raises:
        TypeError: a layer cannot be saved; the message names its path, its type, and what to write
            instead.
        OSError: the file cannot be written.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
    >>> path = snn.save(net, "net.safetensors")
    >>> snn.load(path)[1].beta
    tensor(0.9000)
    """
    path = path_of("path", path)
    if isinstance(net, dict):
        safetensors.write(path, weights(net), {})
        return path
    if not isinstance(net, nn.Module):
        raise TypeError(
            f"save takes a torch.nn.Module or its state_dict, got {type(net).__name__}; write "
            "save(net, path)"
        )
    safetensors.write(path, *contents(net))
    return path


@overload
def load(path: "str | PathLike[str]") -> nn.Module: ...
@overload
def load(path: "str | PathLike[str]", into: Net) -> Net: ...
def load(path: "str | PathLike[str]", into: Any = None) -> Any:
    """Reads a network written by `save`, or loads weights of a safetensors file into a network.

    Args:
        path: path of the file, or of the folder of a finished run of `spikeloom.fit`.
        into: a network whose weights are replaced by those of the file; for networks with their own
            class.

    Returns:
        The network, on the CPU; or ``into``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, contains the weights of another network (the message names the
            first weight that differs), or contains no architecture and ``into`` is missing.

    >>> import spikeloom as snn
    >>> _ = snn.save(nn.Linear(2, 1).state_dict(), "weights.safetensors")
    >>> snn.load("weights.safetensors", into=nn.Linear(2, 1))
    Linear(in_features=2, out_features=1, bias=True)
    """
    path = path_of("path", path)
    if path.is_dir():
        folder = path
        path = folder / OF_RUNS
        if not path.exists():
            raise FileNotFoundError(
                f"{folder} holds no finished run: there is no {path.name}; write the path of a "
                "file, or finish the run with snn.fit(..., resume=True)"
            )
    if not path.exists():
        raise FileNotFoundError(
            f"path must be the file of a network, got {path}, which does not exist; write the path "
            "of one"
        )
    tensors, texts = safetensors.read(path)
    if into is not None:
        network(into, "into")
        _check(path, tensors, into)
        into.load_state_dict(tensors)
        return into
    if KEY not in texts:
        raise ValueError(
            f"{path} holds weights without an architecture; write snn.load(path, into=net)"
        )
    described = _described(path, texts[KEY])
    net = build(described["architecture"])
    _check(path, tensors, net)
    net.load_state_dict(tensors, assign=True)  # keeps the dtypes of the file
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in described["frozen"])
    return net.train(described["training"])


def _described(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (RecursionError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} must hold an architecture as JSON, got other text; save the network again"
        ) from error
    wanted = {"format": int, "architecture": dict, "frozen": list, "training": bool}
    if not isinstance(found, dict) or any(
        not isinstance(found.get(name), kind) for name, kind in wanted.items()
    ):
        raise ValueError(
            f"{path} must hold an architecture of spikeloom, got another one; write "
            "snn.load(path, into=net)"
        )
    if found["format"] != FORMAT:
        raise ValueError(
            f"{path} must have format {FORMAT}, got {found['format']}; save the network again"
        )
    return found


def _check(path: Path, tensors: dict[str, Tensor], net: nn.Module) -> None:
    """Refuses the weights of another network before any weight is replaced."""
    wanted = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    differs = None
    for name in [*wanted, *tensors]:
        if name not in tensors:
            differs = f"{name} is missing in the file"
        elif name not in wanted:
            differs = f"{name} is not a weight of the network"
        elif tensors[name].shape != wanted[name].shape:
            shape = list(tensors[name].shape)
            differs = f"{name} has shape {shape} in the file and {list(wanted[name].shape)} in it"
        if differs is not None:
            raise ValueError(
                f"{path} must hold the weights of this network, but {differs}; load it into the "
                "network that was saved"
            )
