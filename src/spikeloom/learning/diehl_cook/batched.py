"""The batched engine: weights stand still while a batch is presented, so that time needs no matrix product.

The whole input drive is one product, the loop over time touches [B, N] only, and the change of the weights is one more
product at the end (or at the end of each chunk of steps; a chunk of one step is the online rule).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..rules import Memory
from .circuit import CircuitState, at_rest

__all__ = ["presented", "show"]

LARGEST = 64  # samples presented at once where nothing is learned: more do not fit into the caches


def show(net: Any, x: Tensor, seeds: Tensor, learn: bool, batch: int, chunk: int | None) -> Tensor:
    """Present images in batches, in their order.

    Args:
        net: a `DiehlAndCook2015`.
        x: images, [n, inputs], in [0, 1].
        seeds: of the input spikes, one for each image; a batch takes the one of its first image.
        learn: whether weights and thresholds change.
        batch: images at once.
        chunk: steps after which the weights change; None: at the end of the presentation.

    Returns:
        Spikes of each excitatory neuron for each image, [n, N], int32.
    """
    batch = batch if learn else max(batch, LARGEST)
    return torch.cat([_batch(net, x[a : a + batch], int(seeds[a]), learn, chunk) for a in range(0, len(x), batch)])


def _batch(net: Any, x: Tensor, seed: int, learn: bool, chunk: int | None) -> Tensor:
    """Present a batch, and those images again, brighter, that too few spikes answer."""
    c = net.constants
    generator = torch.Generator(x.device).manual_seed(seed)
    counts = torch.zeros(len(x), net.neurons, dtype=torch.int32, device=x.device)
    left = torch.arange(len(x), device=x.device)
    for again in range(c.retries + 1):
        probability = (x[left] * c.probability(again)).clamp(max=1)
        spikes = _bernoulli(probability, c.steps, generator)
        spk, _ = presented(net, spikes, learn, chunk)
        if learn:
            net.normalize()
            net.pause(len(left))
        counts[left] = spk.sum(0).to(torch.int32)
        left = left[counts[left].sum(1) < c.min_spikes]
        if not len(left):
            break
    return counts


def _bernoulli(probability: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Spikes [T, B, inputs]; random numbers are drawn for inputs only that are not dark in the whole batch."""
    lit = (probability > 0).any(0).nonzero().flatten()
    draws = torch.rand(steps, len(probability), len(lit), generator=generator, device=probability.device)
    spikes = probability.new_zeros(steps, *probability.shape)
    spikes[..., lit] = (draws < probability[:, lit]).to(probability.dtype)
    return spikes


def presented(net: Any, spikes: Tensor, learn: bool, chunk: int | None = None) -> tuple[Tensor, CircuitState]:
    """Present spikes [T, B, inputs] from rest; returns excitatory spikes [T, B, N] and the last state.

    Where it learns, weights and thresholds have changed afterwards; the weights are not normalised.
    """
    steps, samples = spikes.shape[:2]
    weight, gain = net.xe.weight, net.constants.gain
    circuit, memory = net.circuit(samples, learn), Memory()
    state = at_rest(net.exc.neuron, net.inh.neuron, net.exc.theta, samples)
    train: list[Tensor] = []
    size = chunk if learn and chunk else steps
    with torch.no_grad():
        for part in spikes.split(size):
            drive = gain * F.linear(part.flatten(0, 1), weight).unflatten(0, part.shape[:2])
            fired = []
            for current in drive.unbind(0):
                spk, state = circuit.step(current, state)
                fired.append(spk)
            train.append(torch.stack(fired))
            if learn:
                memory, change = net.rule.sequence(net.xe, part, train[-1], memory)
                net.rule.apply(net.xe, change)
        if learn:
            net.exc.theta = state.exc.theta[0].clone()
    return torch.cat(train), state
