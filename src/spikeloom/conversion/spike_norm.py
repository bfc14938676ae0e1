"""Spike-norm: thresholds from the input of each layer while the previous layers spike."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..core.tree import reset
from ..neurons.scaled_if import ScaledIF

__all__ = ["spike_norm"]


class _Reached(Exception):
    """Ends a step at the layer under measurement."""


@torch.no_grad()
def spike_norm(
    net: nn.Module,
    neurons: dict[str, ScaledIF],
    data: Iterable[Tensor],
    encode: Callable[[Tensor], Tensor],
    num_steps: int,
    *,
    scaling_factor: float = 1.0,
    balance: Callable[[ScaledIF, Tensor], None] = ScaledIF.balance,
) -> dict[str, Tensor]:
    """Sets the threshold of each neuron to the largest weighted input of a step, layer by layer.

    Each batch runs for ``num_steps`` steps from rest, once for each layer, with the previous layers
    spiking at the present thresholds. A batch may raise a threshold, but never lowers it.

    Args:
        net: one time step, [B, ...].
        neurons: its neurons by path, in the order of execution.
        data: batches of samples.
        encode: maps a batch to one step of input, such as Poisson spikes.
        num_steps: steps of each batch and layer.
        scaling_factor: factor of all thresholds at the end.
        balance: sets the threshold of a neuron.

    Returns:
        The thresholds by path.

    Raises:
        ValueError: the input of a layer is never positive.

    Source: Sengupta et al. (2019), Front. Neurosci. 13:95, algorithm 1.

    >>> net = nn.Sequential(nn.Linear(2, 1, bias=False), ScaledIF(init_hidden=True))
    >>> _ = net[0].weight.data.fill_(2.0)
    >>> spike_norm(net, {"1": net[1]}, [torch.ones(1, 2)], lambda x: x, num_steps=3)
    {'1': tensor(4.)}
    """
    found = dict.fromkeys(neurons, 0.0)
    for x in data:
        for path, neuron in neurons.items():
            found[path] = max(found[path], _largest(net, neuron, x, encode, num_steps))
            if found[path] <= 0:
                raise ValueError(
                    f"the input of {path!r} must be positive in some step, got none in "
                    f"{num_steps} steps; write a larger num_steps"
                )
            balance(neuron, neuron.threshold.new_tensor(found[path]))
    if not found or not all(found.values()):
        raise ValueError("Spike-norm needs at least one batch of samples and one neuron")
    thresholds = {
        path: neuron.threshold.new_tensor(found[path] * scaling_factor)
        for path, neuron in neurons.items()
    }
    for path, neuron in neurons.items():
        balance(neuron, thresholds[path])
    reset(net)
    return thresholds


def _largest(
    net: nn.Module, neuron: ScaledIF, x: Tensor, encode: Callable[[Tensor], Tensor], num_steps: int
) -> float:
    """The largest input of a neuron in any step."""
    largest: list[float] = []

    def reached(module: nn.Module, args: Any) -> None:
        largest.append(float(args[0].max()))
        raise _Reached

    reset(net)
    handle = neuron.register_forward_pre_hook(reached)
    try:
        for _ in range(num_steps):
            try:
                net(encode(x))
            except _Reached:
                continue
    finally:
        handle.remove()
    return max(largest, default=0.0)
