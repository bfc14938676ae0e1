"""A network over time, step by step: the plain loop, for what cannot be run layer by layer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..core.tree import named_neurons
from .errors import Place, expect

__all__ = ["stepwise"]


def stepwise(
    net: nn.Module, steps: Iterable[Tensor], static: int | None, record: set[str], place: Place
) -> tuple[Any, dict[str, Tensor]]:
    """Call ``net`` once for each step.

    Args:
        net: the network.
        steps: its inputs, [B, ...] each.
        static: T where the input is static, else None.
        record: keys ``"path.field"`` to keep.
        place: told which layer is running.

    Returns:
        The output stacked over time, and the records.
    """
    outputs, records = [], {key: [] for key in record}
    watched = {path: neuron for path, neuron in named_neurons(net) if any(k.startswith(f"{path}.") for k in record)}
    spikes: dict[str, Tensor] = {}
    handles = [
        _announce(path, module, static, place) for path, module in net.named_modules() if not list(module.children())
    ]
    handles += [_spikes_of(path, neuron, spikes) for path, neuron in watched.items()]
    try:
        for x in steps:
            outputs.append(net(x))
            for path, neuron in watched.items():
                for name, value in {**neuron.hidden._asdict(), "spk": spikes[path]}.items():
                    if f"{path}.{name}" in records:
                        records[f"{path}.{name}"].append(value)
    finally:
        for handle in handles:
            handle.remove()
    stacked = pytree.tree_map(
        lambda *values: torch.stack(values) if isinstance(values[0], Tensor) else values[0], *outputs
    )
    return stacked, {key: torch.stack(values) for key, values in records.items()}


def _announce(path: str, module: nn.Module, static: int | None, place: Place) -> Any:
    def enter(module: nn.Module, args: Any) -> None:
        place.enter(path, module)
        if args:
            expect(module, args[0], static)

    return module.register_forward_pre_hook(enter)


def _spikes_of(path: str, neuron: nn.Module, spikes: dict[str, Tensor]) -> Any:
    def keep(module: nn.Module, args: Any, result: Any) -> None:
        spikes[path] = result[0] if isinstance(result, tuple) else result

    return neuron.register_forward_hook(keep)
