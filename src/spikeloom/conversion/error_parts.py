"""Divides the error of a layer into inherited, clipping, quantisation and unevenness errors.

With z the mean input of a neuron over T steps, f the activation that it replaces, a the value of
that activation in the ordinary network and r the mean output of the neuron,

    r - a  =  [f(z) - a]  +  [min(f(z), theta) - f(z)]  +  [Q(z) - min(f(z), theta)]  +  [r - Q(z)]
              inherited       clipping                     quantisation                  unevenness

where Q(z) = theta / T * clip(floor(z T / theta + v), 0, T) is the output of the neuron for the same
input spread evenly over time. The four parts add up element by element. The size of a part c is its
share in the square of the whole error E, <c, E> / <E, E>, so that the sizes add up, too; a part
that compensates another has a negative size.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..neurons.scaled_if import ScaledIF

__all__ = ["PARTS", "LayerError", "parts_of"]

PARTS = ("inherited", "clipping", "quantisation", "unevenness")


def parts_of(
    neuron: ScaledIF, activation: Any, z: Tensor, rate: Tensor, ordinary: Tensor, steps: int
) -> list[Tensor]:
    """The four parts of a layer's error, in the order of `PARTS`, in the shape of ``rate``.

    Args:
        neuron: the neuron.
        activation: f, the activation that it replaces.
        z: mean input, [B, ...].
        rate: mean output r.
        ordinary: a.
        steps: T.

    >>> input, current, output = torch.tensor([1.3]), torch.tensor([0.9]), torch.tensor([1.2])
    >>> parts = parts_of(ScaledIF(1.0), torch.relu, input, current, output, 10)
    >>> torch.cat(parts), sum(parts)
    (tensor([ 0.1000, -0.3000,  0.0000, -0.1000]), tensor([-0.3000]))
    """
    theta = neuron.threshold.detach()
    z = z + neuron.current
    wanted = activation(z)
    clipped = torch.minimum(wanted, theta.expand_as(wanted))
    even = (z * (steps / theta) + neuron.initial_mem).floor().clamp(0, steps) * (theta / steps)
    return [wanted - ordinary, clipped - wanted, even - clipped, rate - even]


class Sums:
    """Inner products of the parts with the whole error, summed over batches."""

    def __init__(self) -> None:
        self.shares = torch.zeros(len(PARTS), dtype=torch.float64)
        self.whole = 0.0
        self.ordinary = 0.0

    def add(self, parts: list[Tensor], rate: Tensor, ordinary: Tensor) -> None:
        """Adds a batch."""
        error = (rate - ordinary).double()
        self.shares += torch.stack([(part.double() * error).sum() for part in parts]).cpu()
        self.whole += float((error**2).sum())
        self.ordinary += float((ordinary.double() ** 2).sum())

    def error(self, path: str, spikes: float, layer: str) -> "LayerError":
        """The error of a layer over all batches."""
        size = (self.whole / self.ordinary) ** 0.5 if self.ordinary else 0.0
        shares = self.shares / self.whole * size if self.whole else self.shares
        return LayerError(
            path, size, **dict(zip(PARTS, shares.tolist(), strict=True)), spikes=spikes, layer=layer
        )


class LayerError(NamedTuple):
    """The error of one layer and its parts, which add up to it.

    Attributes:
        path: path of the neuron.
        error: root mean square of r - a relative to that of a.
        inherited: error of the previous layers.
        clipping: error of activations above the threshold.
        quantisation: error of rates, which are multiples of 1 / T.
        unevenness: error of input that is uneven in time.
        spikes: spikes of the layer per sample.
        layer: class and path of the layer of weights whose sums the neuron receives.

    >>> LayerError("1", 0.1, 0.0, 0.02, 0.08, 0.0, 31.5).error
    0.1
    """

    path: str
    error: float
    inherited: float
    clipping: float
    quantisation: float
    unevenness: float
    spikes: float
    layer: str = ""
