"""The activations that a spiking neuron can replace: rectified, optionally clipped or quantised.

Each call of a ReLU in an ordinary network, in any spelling, becomes its own `Activation`; `QCFS` is
an activation for training, quantised like the rate of a neuron over a few time steps.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core.numbers import real, tensor, whole

__all__ = ["QCFS", "SITES", "Activation", "OutputActivation"]


class Activation(nn.Module):
    r"""Rectified linear unit with an optional upper limit.

    .. math:: a = \min(\max(z, 0), \text{ceiling})

    Args:
        ceiling: largest output, such as 6 for ReLU6; None for no limit.

    >>> Activation(6.0)(torch.tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.])
    """

    def __init__(self, ceiling: float | None = None) -> None:
        super().__init__()
        self.ceiling = ceiling

    def forward(self, z: Tensor) -> Tensor:
        """The activation, in the shape of ``z``."""
        return z.clamp(0, self.ceiling)

    def extra_repr(self) -> str:
        """Shows the ceiling, if there is one."""
        return "" if self.ceiling is None else f"ceiling={self.ceiling}"


class OutputActivation(Activation):
    """The activation behind the last layer for spiking output; the ordinary network has none.

    >>> OutputActivation().ceiling is None
    True
    """


class _StraightThroughFloor(torch.autograd.Function):
    """``floor`` whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class QCFS(nn.Module):
    r"""Quantisation-clip-floor-shift activation, a trainable model of a neuron over a few steps.

    .. math:: a = \frac{\lambda}{L} \, \text{clip}(\lfloor z L / \lambda + 1/2 \rfloor, 0, L)

    The threshold :math:`\lambda` is trained with the weights; the gradient of the floor is 1.
    Conversion of a network trained with it loses least if membranes start at half of the threshold.

    Args:
        levels: L, number of levels above zero, >= 1; about the number of time steps for which the
            network will run.
        threshold: initial threshold, > 0.

    Raises:
        ValueError: ``levels`` is not a positive integer, or ``threshold`` not positive.

    Source: Bu et al. (2022), Optimal ANN-SNN Conversion for High-accuracy and Ultra-low-latency
    Spiking Neural Networks, ICLR, equation 15.

    >>> QCFS(levels=4, threshold=2.0)(torch.tensor([-1.0, 0.2, 0.3, 1.1, 5.0])).detach()
    tensor([0.0000, 0.0000, 0.5000, 1.0000, 2.0000])
    """

    def __init__(self, levels: int = 4, threshold: float = 8.0) -> None:
        super().__init__()
        self.levels = whole("levels", levels, 1, 2**30)
        self.threshold = nn.Parameter(
            torch.tensor(real("threshold", threshold, 0.0, open_low=True))
        )

    @property
    def ceiling(self) -> float:
        """The largest output, the threshold."""
        return float(self.threshold.detach())

    def forward(self, z: Tensor) -> Tensor:
        """The activation, in the shape of ``z``."""
        if not isinstance(z, fx.Proxy) and tensor("z", z).is_complex():
            raise TypeError(f"z must be real, got {z.dtype}; write z.real")
        share = (z / self.threshold).clamp(0, 1)
        return _StraightThroughFloor.apply(share * self.levels + 0.5) * (
            self.threshold / self.levels
        )

    def extra_repr(self) -> str:
        """Shows the number of levels."""
        return f"levels={self.levels}"


SITES = (Activation, QCFS)
