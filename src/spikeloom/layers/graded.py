"""Spikes of learned size."""

import torch
from torch import Tensor, nn

__all__ = ["GradedSpikes"]


class GradedSpikes(nn.Module):
    """Multiply the spikes of each neuron by a learned weight.

    Args:
        size: number of neurons.
        constant_factor: initial weight of all; 0, False or None: uniform in [0.5, 1.5).

    Raises:
        ValueError: ``size`` < 1; in ``forward``, no axis of the input has ``size`` elements where neurons may lie.

    Differs from snnTorch for inputs [B, size] and [T, B, size]: there the weights, of shape [size, 1], act on the
    samples (or fail) instead of on the neurons. They act on the last axis here, and on the last but one where only that
    has ``size`` elements.

    >>> import torch, spikeloom as snn
    >>> snn.GradedSpikes(2, constant_factor=1.5)(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    tensor([[1.5000, 0.0000],
            [1.5000, 1.5000],
            [0.0000, 0.0000]], grad_fn=<MulBackward0>)
    """

    def __init__(self, size: int, constant_factor: float | None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.weights = nn.Parameter(
            torch.ones(size, 1) * constant_factor if constant_factor else torch.rand(size, 1) + 0.5
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scaled spikes, in the shape of ``x``.

        Args:
            x: spikes, [..., size] or [..., size, K].
        """
        if x.shape[-1:] == (self.size,):
            return x * self.weights.squeeze(-1)
        if x.shape[-2:-1] == (self.size,):
            return x * self.weights
        raise ValueError(
            f"GradedSpikes has size={self.size}, got spikes of shape {tuple(x.shape)}; neurons lie on the last axis "
            "or the last but one"
        )
