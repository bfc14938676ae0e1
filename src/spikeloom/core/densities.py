"""Surrogate curves of area 1: the four of STBP, and the triangle of chaotic backpropagation.

Their derivatives are probability densities around the threshold; ``x`` is the membrane minus the
threshold.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .numbers import real
from .surrogate import Surrogate

__all__ = ["ZIF", "Gaussian", "Logistic", "Polynomial", "Rectangular", "logistic_slope"]


def logistic_slope(x: Tensor, k: float) -> Tensor:
    """k e^(-k|x|) / (1 + e^(-k|x|))^2: even in x, and the exponent never overflows."""
    e = torch.exp(-k * x.abs())
    return k * e / ((1.0 + e) * (1.0 + e))


@dataclass(frozen=True)
class ZIF(Surrogate):
    """Triangle around the threshold: ``dS/dx = max(0, gamma - |x|) / gamma^2``, of area 1.

    Source: Wang, Tao & Chen (2024), Natl. Sci. Rev. 11, nwae037.

    >>> ZIF().derivative(torch.tensor([0.0, 0.5, 2.0]))
    tensor([1.0000, 0.5000, 0.0000])
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        real("gamma", self.gamma, 0.0, open_low=True)

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
        real("a", self.a, 0.0, open_low=True)

    def primitive(self, x: Tensor) -> Tensor:
        return 0.5 + x.clamp(-self.a / 2, self.a / 2) / self.a

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < self.a / 2).to(x.dtype) / self.a


@dataclass(frozen=True)
class Polynomial(Surrogate):
    """STBP's h2: ``max(0, sqrt(a)/2 - a/4 |x|)``.

    Source: Wu et al. (2018), Front. Neurosci. 12:331.

    >>> Polynomial(a=4.0).derivative(torch.tensor([0.0, 1.0]))
    tensor([1., 0.])
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        real("a", self.a, 0.0, open_low=True)

    def primitive(self, x: Tensor) -> Tensor:
        edge = 2.0 / math.sqrt(self.a)
        y = x.clamp(-edge, edge)
        return 0.5 + math.sqrt(self.a) / 2 * y - self.a / 8 * y * y.abs()

    def derivative(self, x: Tensor) -> Tensor:
        return (math.sqrt(self.a) / 2 - self.a / 4 * x.abs()).clamp(min=0.0)


@dataclass(frozen=True)
class Logistic(Surrogate):
    """STBP's h3: the slope of a sigmoid of temperature ``a``.

    Source: Wu et al. (2018), Front. Neurosci. 12:331.

    >>> Logistic(a=1.0).derivative(torch.tensor([0.0]))
    tensor([0.2500])
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        real("a", self.a, 0.0, open_low=True)

    def primitive(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x / self.a)

    def derivative(self, x: Tensor) -> Tensor:
        return logistic_slope(x, 1.0 / self.a)


@dataclass(frozen=True)
class Gaussian(Surrogate):
    """STBP's h4: a normal density of variance ``a``.

    Source: Wu et al. (2018), Front. Neurosci. 12:331.

    >>> Gaussian(a=1.0).derivative(torch.tensor([0.0]))
    tensor([0.3989])
    """

    a: float = 1.0

    def __post_init__(self) -> None:
        real("a", self.a, 0.0, open_low=True)

    def primitive(self, x: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0 * self.a)))

    def derivative(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x / (2.0 * self.a)) / math.sqrt(2.0 * math.pi * self.a)
