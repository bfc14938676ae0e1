"""The activations that a spiking neuron can stand for: rectified, perhaps clipped, perhaps in
steps.

Each call of a ReLU in an ordinary network, however it is spelled, becomes one `Activation` of its
own; `QCFS` is an activation to train with, whose steps are those of a neuron that fires over a few
time steps.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core.numbers import real, tensor, whole

__all__ = ["QCFS", "SITES", "Activation", "Readout"]


class Activation(nn.Module):
    r"""Rectified linear unit, clipped where the network's own is.

    .. math:: a = \min(\max(z, 0), \text{ceiling})

    Args:
        ceiling: greatest output, as 6 of ReLU6; None: there is none.

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
        """The ceiling, if there is one."""
        return "" if self.ceiling is None else f"ceiling={self.ceiling}"


class Readout(Activation):
    """Stands behind the last layer where the output is read as spikes; the ordinary network has
    nothing there.

    >>> Readout().ceiling is None
    True
    """


class _Steps(torch.autograd.Function):
    """``floor`` whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class QCFS(nn.Module):
    r"""Quantisation-clip-floor-shift activation: what a spiking neuron can express in a few steps,
    to train with.

    .. math:: a = \frac{\lambda}{L} \, \text{clip}(\lfloor z L / \lambda + 1/2 \rfloor, 0, L)

    The threshold :math:`\lambda` is trained with the weights; the gradient of the floor is 1.
    A network trained so loses least when it is converted with a start at half of the threshold.

    Args:
        levels: L, number of steps above zero, >= 1; about the number of time steps for which the
            network will run.
        threshold: of the beginning, > 0.

    Raises:
        ValueError: ``levels`` is no positive integer or ``threshold`` not positive.

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
        """The greatest output: the threshold."""
        return float(self.threshold.detach())

    def forward(self, z: Tensor) -> Tensor:
        """The activation, in the shape of ``z``."""
        if not isinstance(z, fx.Proxy) and tensor("z", z).is_complex():
            raise TypeError(f"z must be real, got {z.dtype}; write z.real")
        share = (z / self.threshold).clamp(0, 1)
        return _Steps.apply(share * self.levels + 0.5) * (self.threshold / self.levels)

    def extra_repr(self) -> str:
        """The number of steps."""
        return f"levels={self.levels}"


SITES = (Activation, QCFS)
