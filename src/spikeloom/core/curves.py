"""The surrogate curves of snnTorch; more are in `spikeloom.core.densities`.

``x`` is the membrane minus the threshold. The equations stand in the classes; all are finite for
any finite ``x``.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .densities import logistic_slope
from .numbers import real
from .surrogate import Surrogate

__all__ = [
    "ATan",
    "FastSigmoid",
    "Heaviside",
    "LeakySpikeOperator",
    "Sigmoid",
    "SparseFastSigmoid",
    "SpikeRateEscape",
    "StochasticSpikeOperator",
    "StraightThroughEstimator",
    "Triangular",
]


@dataclass(frozen=True)
class ATan(Surrogate):
    r"""Arc tangent, the default: ``dS/dx = (alpha/2) / (1 + (pi/2 alpha x)^2)``.

    Source: Fang et al. (2021), ICCV, "Incorporating learnable membrane time constant".

    >>> ATan(alpha=2.0).derivative(torch.tensor([0.0]))
    tensor([1.])
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        real("alpha", self.alpha, 0.0, open_low=True, example=2.0)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.atan(math.pi / 2 * self.alpha * x) / math.pi

    def derivative(self, x: Tensor) -> Tensor:
        u = math.pi / 2 * self.alpha * x
        return self.alpha / 2 / (1.0 + u * u)


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    r"""Fast sigmoid: ``dS/dx = 1 / (1 + slope |x|)^2``.

    Source: Zenke & Ganguli (2018), Neural Computation 30, 1514-1541.

    >>> FastSigmoid(slope=25).derivative(torch.tensor([0.0]))
    tensor([1.])
    """

    slope: float = 25.0

    def __post_init__(self) -> None:
        real("slope", self.slope, 0.0, example=25.0)

    def primitive(self, x: Tensor) -> Tensor:
        return x / (1.0 + self.slope * x.abs())

    def derivative(self, x: Tensor) -> Tensor:
        d = 1.0 + self.slope * x.abs()
        return 1.0 / (d * d)


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    r"""Sigmoid: ``dS/dx = slope e^(-slope x) / (1 + e^(-slope x))^2``, computed without overflow.

    >>> Sigmoid(slope=25).derivative(torch.tensor([-100.0, 0.0]))
    tensor([0.0000, 6.2500])
    """

    slope: float = 25.0

    def __post_init__(self) -> None:
        real("slope", self.slope, 0.0, open_low=True, example=25.0)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * x)

    def derivative(self, x: Tensor) -> Tensor:
        return logistic_slope(x, self.slope)


@dataclass(frozen=True)
class StraightThroughEstimator(Surrogate):
    """Straight-through estimator: ``dS/dx = 1``.

    Source: Bengio, Leonard & Courville (2013), arXiv 1308.3432.

    >>> StraightThroughEstimator().derivative(torch.tensor([3.0]))
    tensor([1.])
    """

    def primitive(self, x: Tensor) -> Tensor:
        return x

    def derivative(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@dataclass(frozen=True)
class Triangular(Surrogate):
    """snnTorch's triangular: ``dS/dx = threshold`` below the threshold and ``-threshold`` above.

    The gradient has the sign that pulls the membrane towards the threshold; for a triangle around
    it see `ZIF`.

    >>> Triangular().derivative(torch.tensor([-0.5, 0.5]))
    tensor([ 1., -1.])
    """

    threshold: float = 1.0

    def __post_init__(self) -> None:
        real("threshold", self.threshold, 0.0, open_low=True)

    def primitive(self, x: Tensor) -> Tensor:
        return -self.threshold * x.abs()

    def derivative(self, x: Tensor) -> Tensor:
        return self.threshold - 2.0 * self.threshold * (x >= 0).to(x.dtype)


@dataclass(frozen=True)
class SpikeRateEscape(Surrogate):
    r"""Spike-rate escape: ``dS/dx = slope e^(-beta |x - 1|)``.

    Source: Gerstner & Kistler (2002), *Spiking Neuron Models*, Boltzmann escape rate.

    >>> SpikeRateEscape().derivative(torch.tensor([1.0]))
    tensor([25.])
    """

    beta: float = 1.0
    slope: float = 25.0

    def __post_init__(self) -> None:
        real("beta", self.beta, 0.0, open_low=True)
        real("slope", self.slope, 0.0, open_low=True, example=25.0)

    def primitive(self, x: Tensor) -> Tensor:
        u = x - 1.0
        return torch.sign(u) * (1.0 - torch.exp(-self.beta * u.abs())) * (self.slope / self.beta)

    def derivative(self, x: Tensor) -> Tensor:
        return self.slope * torch.exp(-self.beta * (x - 1.0).abs())


@dataclass(frozen=True)
class Heaviside(Surrogate):
    """The spike itself as the derivative: ``dS/dx = H(x)``.

    >>> Heaviside().derivative(torch.tensor([-1.0, 1.0]))
    tensor([0., 1.])
    """

    def primitive(self, x: Tensor) -> Tensor:
        return x.clamp(min=0.0)

    def derivative(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


@dataclass(frozen=True)
class StochasticSpikeOperator(Surrogate):
    """Surrogate of uniform noise: 1 at a spike, else ``(U[0, 1) - 0.5 + mean) variance``.

    It is drawn anew at every backward pass, hence has no primitive, and runs the ordinary loop.

    >>> StochasticSpikeOperator().derivative(torch.tensor([1.0]))
    tensor([1.])
    """

    mean: float = 0.0
    variance: float = 0.2

    def __post_init__(self) -> None:
        real("mean", self.mean, example=0.0)
        real("variance", self.variance, 0.0, example=0.2)

    def derivative(self, x: Tensor) -> Tensor:
        noise = (torch.rand_like(x) - 0.5 + self.mean) * self.variance
        return torch.where(x > 0, torch.ones_like(x), noise)


@dataclass(frozen=True)
class LeakySpikeOperator(Surrogate):
    """Leaky: ``dS/dx = 1`` where a spike was fired and ``slope`` elsewhere.

    >>> LeakySpikeOperator(slope=0.1).derivative(torch.tensor([-1.0, 1.0]))
    tensor([0.1000, 1.0000])
    """

    slope: float = 0.1

    def __post_init__(self) -> None:
        real("slope", self.slope, 0.0, example=0.1)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)

    def derivative(self, x: Tensor) -> Tensor:
        spk = (x > 0).to(x.dtype)
        return spk + self.slope * (1.0 - spk)


@dataclass(frozen=True)
class SparseFastSigmoid(Surrogate):
    """Fast sigmoid that is zero for ``x <= B``: ``dS/dx = 1 / (1 + slope |x|)^2`` where ``x > B``.

    Source: Perez-Nieves & Goodman (2021), NeurIPS, "Sparse spiking gradient descent".

    >>> SparseFastSigmoid(slope=25, B=-0.1).derivative(torch.tensor([-1.0, 0.0]))
    tensor([0., 1.])
    """

    slope: float = 25.0
    B: float = 1.0

    def __post_init__(self) -> None:
        real("slope", self.slope, 0.0, example=25.0)
        real("B", self.B)

    def _curve(self, x: Tensor) -> Tensor:
        return x / (1.0 + self.slope * x.abs())

    def primitive(self, x: Tensor) -> Tensor:
        return torch.where(
            x > self.B,
            self._curve(x) - self.B / (1.0 + self.slope * abs(self.B)),
            torch.zeros_like(x),
        )

    def derivative(self, x: Tensor) -> Tensor:
        d = 1.0 + self.slope * x.abs()
        return (x > self.B).to(x.dtype) / (d * d)
