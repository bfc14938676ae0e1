from dataclasses import dataclass

import torch
from torch import Tensor

import spikeloom as snn


@dataclass(frozen=True)
class Bump(snn.surrogate.Surrogate):
    """A Gaussian bell.

    >>> Bump(0.5).derivative(torch.zeros(1))
    tensor([0.7979])
    """

    width: float = 1.0

    def primitive(self, x: Tensor) -> Tensor:
        return 0.5 * (1 + torch.erf(x / (self.width * 2**0.5)))

    def derivative(self, x: Tensor) -> Tensor:
        return torch.exp(-0.5 * (x / self.width) ** 2) / (self.width * (2 * torch.pi) ** 0.5)
