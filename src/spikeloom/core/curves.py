"""The surrogate curves: snnTorch's, the four of STBP, and the triangle of chaotic spiking backpropagation.

``x`` is the membrane minus the threshold. The equations stand in the classes; all are finite for any finite ``x``.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .surrogate import Surrogate

__all__ = [
    "ZIF",
    "ATan",
    "FastSigmoid",
    "Gaussian",
    "Heaviside",
    "LeakySpikeOperator",
    "Logistic",
    "Polynomial",
    "Rectangular",
    "Sigmoid",
    "SparseFastSigmoid",
    "SpikeRateEscape",
    "StochasticSpikeOperator",
    "StraightThroughEstimator",
    "Triangular",
]


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value!r}; write e.g. {name}=1.0")


def _logistic_slope(x: Tensor, k: float) -> Tensor:
    """k e^(-k|x|) / (1 + e^(-k|x|))^2: even in x, and the exponent never overflows."""
    e = torch.exp(-k * x.abs())
    return k * e / ((1.0 + e) * (1.0 + e))


@dataclass(frozen=True)
class ATan(Surrogate):
    r"""Arc tangent, the default: ``dS/dx = (alpha/2) / (1 + (pi/2 alpha x)^2)``.

    Source: Fang et al. (2021), ICCV, "Incorporating learnable membrane time constant".

    >>> ATan(alpha=2.0).derivative(torch.tensor([0.0]))
    tensor([1.])
    """

    alpha: float = 2.0

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

    def primitive(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * x)

    def derivative(self, x: Tensor) -> Tensor:
        return _logistic_slope(x, self.slope)


@dataclass(frozen=True)
class StraightThroughEstimator(Surrogate):
    """Straight-through estimator: ``dS/dx = 1``. Source: Bengio, Leonard & Courville (2013), arXiv 1308.3432.

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

    The gradient has the sign that pulls the membrane towards the threshold; for a triangle around it see `ZIF`.

    >>> Triangular().derivative(torch.tensor([-0.5, 0.5]))
    tensor([ 1., -1.])
    """

    threshold: float = 1.0

    def primitive(self, x: Tensor) -> Tensor:
        return -self.threshold * x.abs()

    def derivative(self, x: Tensor) -> Tensor:
        return torch.where(x < 0, self.threshold, -self.threshold).to(x.dtype)


@dataclass(frozen=True)
class SpikeRateEscape(Surrogate):
    r"""Spike-rate escape: ``dS/dx = slope e^(-beta |x - 1|)``.

    Source: Gerstner & Kistler (2002), *Spiking Neuron Models*, Boltzmann escape rate.

    >>> SpikeRateEscape().derivative(torch.tensor([1.0]))
    tensor([25.])
    """

    beta: float = 1.0
    slope: float = 25.0

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
    """Surrogate of uniform noise: 1 where a spike was fired, ``(U[0, 1) - 0.5 + mean) variance`` elsewhere.

    It is drawn anew at every backward pass, hence has no primitive, and runs the ordinary loop.

    >>> StochasticSpikeOperator().derivative(torch.tensor([1.0]))
    tensor([1.])
    """

    mean: float = 0.0
    variance: float = 0.2

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

    def primitive(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)

    def derivative(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, self.slope).to(x.dtype)


@dataclass(frozen=True)
class SparseFastSigmoid(Surrogate):
    """Fast sigmoid that is zero for ``x <= B``: ``dS/dx = 1 / (1 + slope |x|)^2`` where ``x > B``.

    Source: Perez-Nieves & Goodman (2021), NeurIPS, "Sparse spiking gradient descent".

    >>> SparseFastSigmoid(slope=25, B=-0.1).derivative(torch.tensor([-1.0, 0.0]))
    tensor([0., 1.])
    """

    slope: float = 25.0
    B: float = 1.0

    def _curve(self, x: Tensor) -> Tensor:
        return x / (1.0 + self.slope * x.abs())

    def primitive(self, x: Tensor) -> Tensor:
        return torch.where(x > self.B, self._curve(x) - self.B / (1.0 + self.slope * abs(self.B)), torch.zeros_like(x))

    def derivative(self, x: Tensor) -> Tensor:
        d = 1.0 + self.slope * x.abs()
        return (x > self.B).to(x.dtype) / (d * d)


@dataclass(frozen=True)
class ZIF(Surrogate):
    """Triangle around the threshold: ``dS/dx = max(0, gamma - |x|) / gamma^2``, of area 1.

    Source: Wang, Tao & Chen (2024), Natl. Sci. Rev. 11, nwae037; Deng et al. (2022), ICLR (temporal efficient training).

    >>> ZIF().derivative(torch.tensor([0.0, 0.5, 2.0]))
    tensor([1.0000, 0.5000, 0.0000])
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        _positive("gamma", self.gamma)

    def primitive(self, x: Tensor) -> Tensor:
        y = (x / self.gamma).clamp(-1.0, 1.0)
        return 0.5 + y - 0.5 * y * y.abs()

    def derivative(self, x: Tensor) -> Tensor:
        return (self.gamma - x.abs()).clamp(min=0.0) / (self.gamma * self.gamma)


@dataclass(frozen=True)
class Rectangular(Surrogate):
    """STBP's h1: ``1/a`` where ``|x| < a/2``. Source: Wu et al. (2018), Front. Neurosci. 12:331.

    >>> Rectangular(a=0.5).derivative(torch.tensor([0.0, 0.3]))
    tensor([2., 0.])
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        _positive("a", self.a)

    def primitive(self, x: Tensor) -> Tensor:
        return 0.5 + x.clamp(-self.a / 2, self.a / 2) / self.a

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < self.a / 2).to(x.dtype) / self.a


@dataclass(frozen=True)
class Polynomial(Surrogate):
    """STBP's h2: ``max(0, sqrt(a)/2 - a/4 |x|)``. Source: Wu et al. (2018), Front. Neurosci. 12:331.

    >>> Polynomial(a=4.0).derivative(torch.tensor([0.0, 1.0]))
    tensor([1., 0.])
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        _positive("a", self.a)

    def primitive(self, x: Tensor) -> Tensor:
        edge = 2.0 / math.sqrt(self.a)
        y = x.clamp(-edge, edge)
        return 0.5 + math.sqrt(self.a) / 2 * y - self.a / 8 * y * y.abs()

    def derivative(self, x: Tensor) -> Tensor:
        return (math.sqrt(self.a) / 2 - self.a / 4 * x.abs()).clamp(min=0.0)


@dataclass(frozen=True)
class Logistic(Surrogate):
    """STBP's h3: the slope of a sigmoid of temperature ``a``. Source: Wu et al. (2018), Front. Neurosci. 12:331.

    >>> Logistic(a=1.0).derivative(torch.tensor([0.0]))
    tensor([0.2500])
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        _positive("a", self.a)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x / self.a)

    def derivative(self, x: Tensor) -> Tensor:
        return _logistic_slope(x, 1.0 / self.a)


@dataclass(frozen=True)
class Gaussian(Surrogate):
    """STBP's h4: a normal density of variance ``a``. Source: Wu et al. (2018), Front. Neurosci. 12:331.

    >>> Gaussian(a=1.0).derivative(torch.tensor([0.0]))
    tensor([0.3989])
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        _positive("a", self.a)

    def primitive(self, x: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0 * self.a)))

    def derivative(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x / (2.0 * self.a)) / math.sqrt(2.0 * math.pi * self.a)
