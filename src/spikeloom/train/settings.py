"""What determines a training run: plain values in checkpoints and run cards, for a resume.

Everything that can change a result is here; what cannot (threads aside, see `fit`) is not: output
folder, progress.
"""

import dataclasses
import math
import zlib
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..core.neuron import Neuron

__all__ = [
    "Settings",
    "check_same",
    "checksum",
    "describe_network",
    "describe_optimizer",
    "difference",
    "name_of",
    "whole",
]

Settings = dict[str, Any]  # name to JSON value


MOST = 2**30  # of epochs, samples and seeds


def whole(name: str, value: Any, low: int = 1) -> int:
    """Return ``value`` if it is a whole number from ``low``.

    Raises:
        TypeError: it is no int.
        ValueError: it is too small.

    >>> whole("epochs", 3)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{name} must be a whole number, got {value!r}; write {name}={max(low, 1)}, for example"
        )
    if value > MOST:
        raise ValueError(
            f"{name} must be at most {MOST}, got {value}; write {name}={max(low, 1)}, for example"
        )
    if value < low:
        raise ValueError(
            f"{name} must be at least {low}, got {value}; write {name}={low}, for example"
        )
    return value


def name_of(value: Any) -> str:
    """A name that is the same in another process: the repr unless that holds an address.

    >>> name_of(len), name_of("rate")
    ('len', 'rate')
    """
    if isinstance(value, str):
        return value
    text = repr(value)
    if " at 0x" not in text:
        return text if not callable(value) or "<" not in text else value.__qualname__
    return getattr(value, "__qualname__", type(value).__qualname__)


def describe_network(net: nn.Module) -> list[str]:
    """One line per leaf module or neuron: path, kind, sizes, and constants of neurons.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.5, learn_threshold=True))
    >>> describe_network(net)[1].split(", ")[:3]
    ['1: Leaky(threshold learned []', 'graded_spikes_factor=1', 'beta=0.5']
    """
    lines = []
    for path, module in net.named_modules():
        if isinstance(module, Neuron):
            lines.append(f"{path}: {describe_neuron(module)}")
        elif not any(True for _ in module.children()):
            lines.append(f"{path}: {name_of(module)}")
    return lines


def describe_neuron(neuron: Neuron) -> str:
    """Kind and settings of a neuron; a learned quantity by its shape, because its value changes."""
    parts = []
    for name in neuron._names:
        value = getattr(neuron, name)
        if isinstance(value, nn.Parameter):
            parts.append(f"{name} learned {list(value.shape)}")
        elif value.numel() == 1:
            parts.append(f"{name}={value.item():g}")
        else:
            parts.append(f"{name}={list(value.shape)} with checksum {checksum([value])}")
    parts += [
        f"reset_mechanism={neuron.reset_mechanism!r}",
        f"spike_grad={name_of(neuron.spike_grad)}",
    ]
    parts += [f"{name}=True" for name in ("inhibition",) if getattr(neuron, name)]
    parts += [] if neuron.reset_delay else ["reset_delay=False"]
    parts += [f"state_quant={name_of(neuron.state_quant)}"] if neuron.state_quant else []
    if neuron.noise is not None:
        parts.append(f"noise={dataclasses.replace(neuron.noise, generator=None)}")
    return f"{type(neuron).__name__}({', '.join(parts)})"


def describe_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Kind and numbers of an optimiser, as it was built.

    >>> describe_optimizer(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5))["lr"]
    0.5
    """
    names = [
        name
        for name in optimizer.defaults
        if name not in ("fused", "foreach", "capturable", "differentiable")
    ]
    groups = optimizer.param_groups
    plain = {name: [_plain(group[name]) for group in groups] for name in names}
    plain["lr"] = [float(group.get("initial_lr", group["lr"])) for group in groups]
    same = {
        name: values[0] if all(v == values[0] for v in values) else values
        for name, values in plain.items()
    }
    return {"kind": type(optimizer).__name__, "groups": len(groups), **same}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def checksum(tensors: Iterable[Tensor]) -> str:
    """CRC-32 of the bytes of some tensors, as eight hexadecimal digits.

    >>> checksum([torch.zeros(2)])
    '6522df69'
    """
    value = 0
    for tensor in tensors:
        value = zlib.crc32(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, value
        )
    return f"{value:08x}"


def difference(old: Settings, new: Settings) -> tuple[str, Any, Any] | None:
    """The first setting in which two runs differ: name, old and new value; or None.

    >>> difference({"epochs": 3, "seed": 0}, {"epochs": 4, "seed": 0})
    ('epochs', 3, 4)
    >>> difference({"network": ["0: a", "1: b"]}, {"network": ["0: a", "1: c"]})
    ('network', '1: b', '1: c')
    """
    for name in [*new, *(n for n in old if n not in new)]:
        a, b = old.get(name), new.get(name)
        if _same(a, b):
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            inner = difference(a, b)
            return inner and (f"{name}.{inner[0]}", *inner[1:])
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            return next((name, x, y) for x, y in zip(a, b, strict=True) if not _same(x, y))
        return name, a, b
    return None


def check_same(
    path: Any, old: Settings, new: Settings, arguments: Collection[str] | None = None
) -> None:
    """Refuse to go on with other settings than a run began with.

    Args:
        path: of the checkpoint.
        old: its settings.
        new: those of now.
        arguments: names that a caller writes as ``name=value``. Default: all of them.

    Raises:
        ValueError: they differ; the message names the first difference.

    >>> check_same("checkpoint.pt", {"epochs": 3}, {"epochs": 4})
    Traceback (most recent call last):
    ValueError: a resumed run must have the settings it began with, but epochs was 3 in ...
    """
    differs = difference(old, new)
    if differs:
        name, was, now = differs
        same = f"{name}={was}" if arguments is None or name in arguments else f"the same {name}"
        raise ValueError(
            f"a resumed run must have the settings it began with, but {name} was {was!r} in "
            f"{path} and is {now!r} now; "
            f"give {same}, or another folder for a new run"
        )


def _same(a: Any, b: Any) -> bool:
    return a == b or (
        isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    )
