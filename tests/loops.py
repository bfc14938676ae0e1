"""What loops over time are tried on, and how they are collected; see `test_layerwise_loops`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from ways import lif

__all__ = ["LOOPS", "B", "Net", "T", "X", "loop", "stacked"]

T, B = 6, 24
X = torch.rand(T, B, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
LOOPS: dict[str, Callable[[Any, Tensor], Any]] = {}


class Net(nn.Module):
    """Two layers, a batch norm, dropout, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(3, 4), lif(), nn.Linear(4, 4), lif()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("sum", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))


def loop(function: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    LOOPS[function.__name__] = function
    return function


def stacked(step: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    """A loop from what happens in one step."""
    LOOPS[step.__name__] = lambda net, x: torch.stack([step(net, x_t) for x_t in x])
    return step
