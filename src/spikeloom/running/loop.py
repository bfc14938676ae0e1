"""Runs a network over time as the plain loop and records the states of its neurons."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..core.stateful import Stateful
from ..core.tree import named_neurons
from .errors import Place, expect

__all__ = ["loop", "stacked"]


def loop(
    net: nn.Module,
    steps: Iterable[Tensor],
    static: int | None,
    record: set[str],
    place: Place,
    after: Callable[[int], None],
) -> tuple[list[Any], dict[str, list[Any]]]:
    """Call ``net`` once for each step.

    Args:
        net: the network.
        steps: its inputs, [B, ...] each.
        static: T where the input is static, else None.
        record: keys ``"path.field"`` to keep.
        place: holds the path of the layer that runs, in the first step.
        after: called with the number of each step when it is done.

    Returns:
        The outputs, and the records by key, one entry a step.
    """
    outputs = []
    records: dict[str, list[Any]] = {key: [] for key in record}
    recorded = {key.rpartition(".")[0] for key in record}
    watched = {path: neuron for path, neuron in named_neurons(net) if path in recorded}
    spikes: dict[str, Tensor] = {}
    handles = [_keep_spikes(path, neuron, spikes) for path, neuron in watched.items()]
    checks = [_check_input(path, m, static, place) for path, m in _leaves(net)]
    try:
        for t, x in enumerate(steps):
            outputs.append(net(x))
            while checks:  # all steps have the shapes of the first one
                checks.pop().remove()
                place.leave()
            for path, neuron in watched.items():
                for name, value in {**neuron.hidden._asdict(), "spk": spikes[path]}.items():
                    if f"{path}.{name}" in records:
                        records[f"{path}.{name}"].append(value)
            after(t)
    finally:
        for handle in (*handles, *checks):
            handle.remove()
    return outputs, records


def stacked(outputs: list[Any], records: dict[str, list[Any]]) -> tuple[Any, dict[str, Tensor]]:
    """Stack outputs and records over time."""
    output = pytree.tree_map(
        lambda *values: torch.stack(values) if isinstance(values[0], Tensor) else values[0],
        *outputs,
    )
    return output, {key: torch.stack(values) for key, values in records.items()}


def _leaves(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield layers without children, and neurons, with their paths."""
    inside: set[nn.Module] = set()
    for path, module in net.named_modules():
        if isinstance(module, Stateful):
            inside.update(module.children())
        if module not in inside and (isinstance(module, Stateful) or not list(module.children())):
            yield path, module


def _check_input(path: str, module: nn.Module, static: int | None, place: Place) -> Any:
    def enter(module: nn.Module, args: Any) -> None:
        place.enter(path, module)
        if args:
            expect(module, args[0], static, place.axes)

    return module.register_forward_pre_hook(enter)


def _keep_spikes(path: str, neuron: nn.Module, spikes: dict[str, Tensor]) -> Any:
    def keep(module: nn.Module, args: Any, result: Any) -> None:
        spikes[path] = result[0] if isinstance(result, tuple) else result

    return neuron.register_forward_hook(keep)
