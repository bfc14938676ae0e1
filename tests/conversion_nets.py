"""Networks that the tests of conversion convert."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.conversion.fx_graph import called, shaped, traced
from spikeloom.conversion.normalise import normalised

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Batch norm, a reused ReLU, a sum, a concatenation, max pooling, dropout and a mean over
    places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu, self.pool, self.drop = nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5)
        self.conv3, self.fc = nn.Conv2d(9, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)) + y)
        y = self.pool(torch.cat([y, x], dim=1))
        y = torch.relu(self.conv3(self.drop(y)))
        return self.fc(y.mean((2, 3)))


def mlp(sizes: tuple[int, ...] = (6, 24, 24, 3), bias: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def residual() -> nn.Module:
    """A `Residual` with running statistics, in evaluation mode."""
    torch.manual_seed(3)
    net = Residual()
    for _ in range(5):
        net(torch.rand(16, 3, 8, 8))
    return net.eval()


def samples() -> Tensor:
    """Images for it."""
    return torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(4))


class Call(nn.Module):
    """A network whose forward is a function of its layers and the input."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(x, **self.layers)


def graph(net: nn.Module, x: Tensor = X) -> Any:
    return normalised(shaped(traced(net), x[:2]))


def kinds(gm: Any) -> list[str]:
    return [type(module).__name__ for _, module in called(gm, nn.Module)]


def conv() -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(3, 4, 3, padding=1)
