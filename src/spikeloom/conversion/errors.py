"""Where a layer's error comes from: what it inherits, clips, rounds, and loses to the unevenness of
its input in time.

With z the mean input that a neuron received over T steps, f the activation that it stands for, a
the activation of the ordinary network at the same place and r the neuron's mean output,

    r - a  =  [f(z) - a]  +  [min(f(z), theta) - f(z)]  +  [Q(z) - min(f(z), theta)]  +  [r - Q(z)]
              inherited       clipping                     quantisation                  unevenness

where Q(z) = theta / T * clip(floor(z T / theta + v), 0, T) is what the neuron would give, had its
input come evenly. The four add up element by element. So that they add up as sizes too, each is
measured by its share in the square of the whole error E: <c, E> / <E, E>, which may be negative
where one undoes another.
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
        activation: f, what it stands for.
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
    """Inner products of the parts with the whole, summed over batches."""

    def __init__(self) -> None:
        self.shares = torch.zeros(len(PARTS), dtype=torch.float64)
        self.whole = self.ordinary = 0.0

    def add(self, parts: list[Tensor], rate: Tensor, ordinary: Tensor) -> None:
        """Add a batch."""
        error = (rate - ordinary).double()
        self.shares += torch.stack([(part.double() * error).sum() for part in parts]).cpu()
        self.whole += float((error**2).sum())
        self.ordinary += float((ordinary.double() ** 2).sum())

    def error(self, path: str, spikes: float) -> "LayerError":
        """The error of a layer, from the sums over all batches."""
        size = (self.whole / self.ordinary) ** 0.5 if self.ordinary else 0.0
        shares = self.shares / self.whole * size if self.whole else self.shares
        return LayerError(
            path, size, **dict(zip(PARTS, shares.tolist(), strict=True)), spikes=spikes
        )


class LayerError(NamedTuple):
    """The error of one layer and its parts, which add up to it.

    Attributes:
        path: of the neuron.
        error: root mean square of r - a over that of a.
        inherited: from the layers before.
        clipping: activations above the threshold.
        quantisation: rates are multiples of 1 / T.
        unevenness: the input did not come evenly in time.
        spikes: of the layer, for a sample.

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
