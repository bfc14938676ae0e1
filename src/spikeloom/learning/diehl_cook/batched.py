"""The batched engine: weights are constant while a batch is presented.

The whole input drive is one product, the loop over time touches [B, N] only (both by the loops of
`event_loop` where numba serves, else by torch and `circuit`), and the change of the weights is one
more product at the end, or at the end of each chunk of steps; a chunk of one step is the online
rule.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import event
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
    parts = [slice(a, a + batch) for a in range(0, len(x), batch)]
    return torch.cat([_batch(net, x[part], seeds[part], learn, chunk) for part in parts])


def _batch(net: Any, x: Tensor, seeds: Tensor, learn: bool, chunk: int | None) -> Tensor:
    """Present a batch, and those images again, brighter, that too few spikes answer."""
    c = net.constants
    spikes_of = _Bernoulli(seeds) if event.loop_refusal(net) else _Gaps(seeds)
    counts = torch.zeros(len(x), net.neurons, dtype=torch.int32, device=x.device)
    left = torch.arange(len(x), device=x.device)
    for again in range(c.retries + 1):
        spk, _ = presented(
            net, spikes_of(x[left], left, c.probability(again), c.steps), learn, chunk
        )
        if learn:
            net.normalize()
            net.pause(len(left))
        counts[left] = spk.sum(0).to(torch.int32)
        left = left[counts[left].sum(1) < c.min_spikes]
        if not len(left):
            break
    return counts


class _Gaps:
    """Input spikes as the event-driven engine draws them: the same for the same seeds."""

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds.numpy().astype(np.uint64)

    def __call__(self, x: Tensor, rows: Tensor, per_step: float, steps: int) -> Tensor:
        states = self.seeds[rows.numpy()]
        spikes = event.drawn(x, states, per_step, steps)
        self.seeds[rows.numpy()] = states
        return spikes


class _Bernoulli:
    """Input spikes by torch, on any device; drawn only for inputs that are bright somewhere."""

    def __init__(self, seeds: Tensor) -> None:
        self.seed = int(seeds[0])
        self.generator = None

    def __call__(self, x: Tensor, rows: Tensor, per_step: float, steps: int) -> Tensor:
        self.generator = self.generator or torch.Generator(x.device).manual_seed(self.seed)
        probability = (x * per_step).clamp(max=1)
        lit = (probability > 0).any(0).nonzero().flatten()
        draws = torch.rand(steps, len(x), len(lit), generator=self.generator, device=x.device)
        spikes = x.new_zeros(steps, *x.shape)
        return spikes.index_copy_(2, lit, (draws < probability[:, lit]).to(x.dtype))


class _Steps:
    """The loop over time on [B, N] by `circuit`: any synapses, any device."""

    def __init__(self, net: Any, samples: int, learn: bool) -> None:
        self.circuit = net.circuit(samples, learn)
        self.state: CircuitState = at_rest(net.exc.neuron, net.inh.neuron, net.exc.theta, samples)

    def run(self, spikes: Tensor, weight: Tensor, gain: float) -> Tensor:
        """Excitatory spikes for the input spikes of some steps, [T, B, inputs]."""
        drive = F.linear(spikes.flatten(0, 1), weight).mul_(gain).unflatten(0, spikes.shape[:2])
        fired = []
        for current in drive.unbind(0):
            spk, self.state = self.circuit.step(current, self.state)
            fired.append(spk)
        return torch.stack(fired)

    @property
    def theta(self) -> Tensor:
        """Thresholds as they are now, [N]."""
        return self.state.exc.theta[0].clone()

    @property
    def mem(self) -> Tensor:
        """Membranes of the excitatory neurons, [B, N]."""
        return self.state.exc.mem


def presented(
    net: Any, spikes: Tensor, learn: bool, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Present spikes [T, B, inputs] from rest.

    Returns excitatory spikes [T, B, N] and their last membranes [B, N].

    Where it learns, weights and thresholds have changed afterwards; the weights are not normalised.
    """
    steps, samples = spikes.shape[:2]
    memory = None
    loop = (
        _Steps(net, samples, learn)
        if event.loop_refusal(net)
        else event.Batch(net, samples, steps, learn)
    )
    train: list[Tensor] = []
    with torch.no_grad():
        for part in spikes.split(chunk if learn and chunk else steps):
            train.append(loop.run(part, net.xe.weight, net.constants.gain))
            if learn:
                memory, change = net.rule.sequence(net.xe, part, train[-1], memory)
                net.rule.apply(net.xe, change)
        if learn:
            net.exc.theta = loop.theta
    return torch.cat(train), loop.mem
