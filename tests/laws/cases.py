"""What the laws are tried on: every neuron of the registry, in every configuration that it has.

The environment variable SPIKELOOM_NEURONS names further modules whose neurons are tried.
"""

import importlib
import os
from typing import Any

import torch
from torch import Tensor

import spikeloom as snn  # noqa: F401 (fills the registry)
from spikeloom.core.neuron import REGISTRY, Neuron
from spikeloom.core.options import arguments

T, B, F = 7, 3, 5
MODULES = os.environ.get("SPIKELOOM_NEURONS", "").split()
for module in MODULES:
    importlib.import_module(module)
# PSN and MaskedPSN run sequences of one length, and later steps act on earlier ones; their laws
# are in test_parallel_spiking
OWN = {
    name: cls
    for name, cls in sorted(REGISTRY.items())
    if (cls.__module__.startswith("spikeloom.") or cls.__module__ in MODULES)
    and "num_steps" not in arguments(cls)
}


def takes(cls: type, name: str) -> bool:
    return name in arguments(cls)


def configurations() -> list[tuple[str, dict[str, Any]]]:
    """Every neuron with every reset and delay that it has."""
    found = []
    for name, cls in OWN.items():
        resets = list(cls.resets) if takes(cls, "reset_mechanism") else [None]
        for reset in resets:
            for delay in [True, False] if takes(cls, "reset_delay") else [None]:
                options = {
                    k: v
                    for k, v in (("reset_mechanism", reset), ("reset_delay", delay))
                    if v is not None
                }
                found.append((name, options))
    return found


CONFIGURATIONS = configurations()
IDS = [f"{name}-{'-'.join(map(str, options.values()))}" for name, options in CONFIGURATIONS]
ELEMENTWISE = [(n, o) for n, o in CONFIGURATIONS if OWN[n].elementwise]
ELEMENTWISE_IDS = [f"{n}-{'-'.join(map(str, o.values()))}" for n, o in ELEMENTWISE]
# Maps of all steps at once: the number of rows decides the order of their sums.
FOLDED = ("AssociativeLeaky",)
STEPPING = [name for name, cls in OWN.items() if "step" in cls.modes]


def build(
    name: str, *, dtype: torch.dtype = torch.float64, learn: bool = False, **options: Any
) -> Neuron:
    """A neuron of the registry, the same at every call; ``learn`` makes all that can learn a
    parameter."""
    cls = OWN[name]
    torch.manual_seed(1)
    if learn:
        options |= {p: True for p in arguments(cls) if p.startswith("learn_")}
    return cls(**{**cls.example, **options}).to(dtype)


def current(
    name: str, *, dtype: torch.dtype = torch.float64, steps: int = T, seed: int = 0
) -> Tensor:
    """An input over time that makes some neurons fire and others not."""
    cls = OWN[name]
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(steps, B, *cls.example_shape, generator=generator, dtype=torch.float64) * 1.6
        - 0.2
    ).to(dtype) * cls.example_gain


def steps_of(neuron: Neuron, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Spikes and states of the step loop, stacked over time."""
    spikes, states = [], []
    for x_t in x.unbind(0):
        spk, state = neuron.step(x_t, state)
        spikes.append(spk)
        states.append(state)
    return torch.stack(spikes), neuron.State(*map(torch.stack, zip(*states, strict=True)))


def summands_of(neuron: Neuron) -> int:
    """Products that a step of a sequence adds in another order than a step alone; 0 for equal
    bits."""
    if type(neuron).__name__ not in FOLDED:
        return 0
    rows = sum(p[0].numel() for p in neuron.parameters() if p.dim() > 1)
    return T * rows


def last(states: Any) -> Any:
    return type(states)(*(value[-1] for value in states))
