"""Fine-tuning a network for few time steps, with QCFS activations as rectifiers."""

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import cross_entropy

from ..core.autocast import fresh_casts
from .activations import QCFS, Activation
from .fx_graph import called, shaped, traced
from .normalise import with_activations, with_layers, without_writes
from .sample_batches import first_batch, home_of, labelled, tensor_pair
from .scales import histograms

__all__ = ["fine_tune", "with_qcfs"]


def with_qcfs(
    ann: nn.Module, calibration: Any, levels: int = 4, percentile: float = 99.9
) -> fx.GraphModule:
    """A copy of a network with a `QCFS` for each rectifier.

    Batch norm and dropout modules stay and can be trained; dropout that is called as a function
    does nothing.

    Args:
        ann: the network, as for `convert`.
        calibration: samples, as for `convert`.
        levels: levels of each activation.
        percentile: percentile of the activations for the initial thresholds.

    >>> net = with_qcfs(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.rand(9, 2))
    >>> [type(module).__name__ for module in net.children()]
    ['Linear', 'QCFS']
    """
    gm = shaped(traced(ann), first_batch(calibration, ann)[:2])
    for each in (without_writes, with_layers, with_activations):
        gm = each(gm)
    gm.delete_all_unused_submodules()
    gm.recompile()
    device, dtype = home_of(ann)
    found = histograms(gm, calibration, per_channel=False)
    for node, module in called(gm, Activation):
        path = str(node.target)
        start = float(found[path].percentile(percentile))
        start = min(start, module.ceiling or start) or 1.0
        gm.set_submodule(path, QCFS(levels, start).to(device, dtype))
    for module in gm.modules():
        module.train(ann.training)
    return gm


@fresh_casts()
def fine_tune(
    ann: nn.Module,
    data: Any,
    *,
    levels: int = 4,
    epochs: int = 2,
    lr: float = 1e-3,
    percentile: float = 99.9,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    generator: torch.Generator | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> fx.GraphModule:
    """Replaces rectifiers by `QCFS` and trains further, for conversion with ``method="qcfs"``.

    Args:
        ann: a trained network, which does not change.
        data: training samples with labels: a pair of tensors, or an iterable of batches (x, y) that
            can be read several times. A pair of tensors is shuffled in every epoch.
        levels: levels of each activation, about the T of the spiking network.
        epochs: passes over the samples.
        lr: initial learning rate of Adam; it falls to 0 along a cosine.
        percentile: percentile of the activations for the initial thresholds.
        loss: function of output and labels.
        generator: source of the order of a pair of tensors.
        progress: called after each epoch with its number from 1 and its mean loss.

    Returns:
        The trained network with QCFS activations, in evaluation mode.

    Raises:
        ValueError: ``epochs`` is not a positive integer, or an error of `convert`.

    Source: Bu et al. (2022), ICLR, for the activation; they train from scratch, not from an
    ordinary network.

    >>> x = torch.rand(64, 2)
    >>> ann = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> fine_tune(ann, (x, (x[:, 0] > x[:, 1]).long())).training
    False
    """
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a positive integer, got {epochs!r}; write epochs=2")
    samples = [x for x, _ in islice(labelled(data, ann), 4)]
    net = with_qcfs(ann, samples, levels, percentile)
    for module in net.modules():
        module.train()
    steps = epochs * sum(1 for _ in _shuffled(data, ann, generator))
    optimizer = torch.optim.Adam(net.parameters(), lr)
    done = 0
    for epoch in range(1, epochs + 1):
        total = 0.0
        number = 0
        for x, y in _shuffled(data, ann, generator):
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * done / steps))
            value = loss(net(x), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += float(value.detach()) * len(x)
            number += len(x)
            done += 1
        if progress is not None:
            progress(epoch, total / number)
    for module in net.modules():
        module.eval()
    return net


def _shuffled(data: Any, net: nn.Module, generator: torch.Generator | None, batch: int = 64) -> Any:
    """Batches of a pair of tensors in random order, or the batches of an iterable."""
    if not tensor_pair(data):
        return labelled(data, net)
    x, y = data
    order = torch.randperm(len(x), generator=generator).split(batch)
    return labelled(((x[index], y[index]) for index in order), net)
