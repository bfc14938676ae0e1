"""Spike-norm: thresholds from what reaches each layer while the layers before it spike."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..core.tree import reset
from ..neurons.scaled_if import ScaledIF

__all__ = ["spike_norm"]


class _Reached(Exception):
    """Ends a step at the layer that is being measured."""


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
    """Set the threshold of each neuron to the largest weighted input of a step, layer by layer,
    batch by batch.

    With the layers before it spiking at the thresholds found so far, each batch is shown for
    ``num_steps`` steps from rest, once for each layer. A threshold is raised where a batch calls
    for it and never lowered.

    Args:
        net: one time step, [B, ...].
        neurons: its neurons by path, in the order of execution.
        data: batches of samples.
        encode: makes one step of input of a batch, such as Poisson spikes.
        num_steps: steps for which a batch is shown to each layer.
        scaling_factor: by which all thresholds are multiplied in the end.
        balance: sets the threshold of a neuron.

    Returns:
        The thresholds by path.

    Raises:
        ValueError: nothing above zero reached a layer.

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
                    f"nothing above zero reached {path!r} in {num_steps} steps; show the samples "
                    "for longer (num_steps)"
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
