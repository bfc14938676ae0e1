"""Spikes of learned size."""

import torch
from torch import Tensor, nn

from ..core.numbers import MOST_UNITS, real, tensor, whole

__all__ = ["GradedSpikes"]


class GradedSpikes(nn.Module):
    """Multiplies the spikes of each neuron by a learned weight.

    Args:
        size: number of neurons.
        constant_factor: initial weight of all; 0, False or None for uniform in [0.5, 1.5).

    Raises:
        TypeError: ``size`` is not a whole number, or ``constant_factor`` not a number; in
            ``forward``, the input is not a tensor.
        ValueError: ``size`` < 1, or ``constant_factor`` is not finite; in ``forward``, neither of
            the last two axes has ``size`` elements.

    Differs from snnTorch for inputs [B, size] and [T, B, size]: there the weights, of shape [size,
    1], act on the samples (or fail) instead of on the neurons. Here they act on the last axis, or
    on the last but one if only that has ``size`` elements.

    >>> import torch, spikeloom as snn
    >>> snn.GradedSpikes(2, constant_factor=1.5)(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    tensor([[1.5000, 0.0000],
            [1.5000, 1.5000],
            [0.0000, 0.0000]], grad_fn=<MulBackward0>)
    """

    def __init__(self, size: int, constant_factor: float | None) -> None:
        super().__init__()
        self.size = whole("size", size, 1, MOST_UNITS)
        factor = 0.0
        if constant_factor is not None and constant_factor is not False:
            factor = real("constant_factor", constant_factor)
        start = torch.full((self.size, 1), factor) if factor else torch.rand(self.size, 1) + 0.5
        self.weights = nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled spikes, in the shape of ``x``.

        Args:
            x: spikes, [..., size] or [..., size, K].
        """
        tensor("x", x)
        if x.shape[-1:] == (self.size,):
            return x * self.weights.squeeze(-1)
        if x.shape[-2:-1] == (self.size,):
            return x * self.weights
        raise ValueError(
            f"GradedSpikes has size={self.size}, got spikes of shape {tuple(x.shape)}; neurons are "
            "the last axis or the last but one"
        )
