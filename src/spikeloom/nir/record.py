"""Metadata of a neuron in our own graphs, with which reading returns the same neuron.

NIR's fields stay the truth: what is recorded counts only where it agrees with them, so that editing
a file has an effect. The record holds the class, its numbers to the last bit, the reset, the
surrogate, and what learns.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.options import arguments
from ..core.surrogate import CustomSurrogate, Disabled, Surrogate

__all__ = ["options_of", "plain", "recorded", "surrogate_of"]


def recorded(neuron: Neuron) -> dict[str, Any]:
    """The record of a neuron, as values that HDF5 takes."""
    arguments = {name: plain(getattr(neuron, name)) for name in neuron.constants()}
    learned = [name for name in _learnable(type(neuron)) if _learns(neuron, name)]
    own = {"neuron": type(neuron).__name__, "arguments": arguments, "learn": ",".join(learned)}
    if not getattr(neuron, "spiking", True):
        return own
    reset = {"reset": neuron.reset_mechanism, "delay": bool(neuron.reset_delay)}
    return {**own, **reset, "surrogate": _surrogate(neuron.spike_grad)}


def options_of(cls: type[Neuron], record: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Constructor arguments from a record: its numbers, and what learns."""
    numbers = {
        k: torch.as_tensor(np.asarray(v), dtype=dtype)
        for k, v in record.get("arguments", {}).items()
    }
    learned = str(record.get("learn", "")).split(",")
    return {**numbers, **{f"learn_{name}": name in learned for name in _learnable(cls)}}


def plain(value: Tensor) -> Any:
    """A tensor as a float or a float64 array; h5py cannot compress arrays without axes.

    >>> plain(torch.tensor(0.5)), plain(torch.tensor([1.0]))
    (0.5, array([1.]))
    """
    numbers = value.detach().cpu().double().numpy()
    return numbers if numbers.ndim else float(numbers)


def surrogate_of(record: Any) -> Any:
    """The surrogate of a record.

    Raises:
        ValueError: it is none of ours and none that the program defines.

    >>> surrogate_of({"name": "FastSigmoid", "slope": 10.0})
    FastSigmoid(slope=10.0)
    """
    options = {key: float(value) for key, value in record.items() if key != "name"}
    name = str(record["name"])
    if name == "Disabled":
        return Disabled()
    for cls in _surrogates(Surrogate):
        if cls.__name__ == name:
            return cls(**options)
    raise ValueError(
        f"the graph was written with the surrogate {name!r}, which cannot be found by name; "
        "pass spike_grad=..., e.g. spike_grad=snn.surrogate.atan()"
    )


def _surrogates(base: type[Surrogate]) -> Iterator[type[Surrogate]]:
    for cls in base.__subclasses__():
        if not cls.__name__.startswith("_"):
            yield cls
        yield from _surrogates(cls)


def _surrogate(spike_grad: Any) -> dict[str, Any]:
    if isinstance(spike_grad, Surrogate) and not isinstance(spike_grad, CustomSurrogate):
        options = {f.name: getattr(spike_grad, f.name) for f in dataclasses.fields(spike_grad)}
        if all(isinstance(v, (int, float)) for v in options.values()):
            return {"name": type(spike_grad).__name__, **{k: float(v) for k, v in options.items()}}
    return {"name": getattr(spike_grad, "__name__", type(spike_grad).__name__)}


def _learnable(cls: type[Neuron]) -> list[str]:
    prefix = "learn_"
    return [name.removeprefix(prefix) for name in arguments(cls) if name.startswith(prefix)]


def _learns(neuron: Neuron, name: str) -> bool:
    if name == "recurrent":
        return any(
            n == "V" or n.startswith("recurrent.")
            for n, p in neuron.named_parameters()
            if p.requires_grad
        )
    return name in neuron._parameters
