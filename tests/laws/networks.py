"""One-step networks of every kind that `snn.run` meets."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn


def lif(**options: Any) -> snn.Leaky:
    return snn.Leaky(0.9, init_hidden=True, **options)


class ConvNet(nn.Module):
    """Functions, methods, a view that reads the batch size, a neuron that returns its state."""

    def __init__(self, norm: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm, self.lif1 = nn.Conv2d(1, 4, 3, padding=1), norm(4), lif()
        self.fc, self.lif2 = nn.Linear(4 * 9, 5), snn.Leaky(0.8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.max_pool2d(self.norm(self.conv(x)), 2)
        y = self.lif1(y * 2 + 0.1)
        spk, mem = self.lif2(self.fc(y.view(x.size(0), -1)))
        return spk, mem


class Branches(nn.Module):
    """Two paths that meet, one of them constant when the input is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.lif1, self.out = (
            nn.Linear(6, 4),
            nn.Linear(6, 4),
            lif(),
            snn.Synaptic(0.8, 0.9),
        )

    def forward(self, x: Tensor) -> Any:
        skip = torch.relu(self.b(x))
        both = torch.cat([self.lif1(self.a(x)), skip], dim=1)
        return {"out": self.out(both[:, 1:] + 0.5)[0], "skip": skip}


class Recurrent(nn.Module):
    """Feeds its last output back: state that the library does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif1, self.previous = nn.Linear(6, 6), lif(), None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.previous is None else x + self.previous
        self.previous = self.lif1(self.fc(x))
        return self.previous


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif1, self.seen = nn.Linear(6, 6), lif(), []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(1)
        return self.lif1(self.fc(x)) * len(self.seen)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif1 = nn.Linear(6, 6), lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.lif1(self.fc(self.lif1(x)))


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif1 = nn.Linear(6, 6), lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.lif1(self.fc(x if x.mean() > 0.8 else 2 * x))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif1 = nn.Linear(6, 6), lif()

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        y.add_(1)
        return self.lif1(y)


class Shaped(nn.Module):
    """Operations that nobody listed, and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.lif1, self.lif2 = lif(learn_beta=True), lif(learn_threshold=True)

    def forward(self, x: Tensor) -> Tensor:
        batch, features = x.shape
        y = self.lif1(x).reshape(batch, 2, features // 2).transpose(1, 2).flatten(1)
        return self.lif2(torch.cumsum(y, dim=1) - y.mean())


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 20), lif(), nn.Linear(20, 5), lif(output=True))


def layered() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 4), snn.SynapticDelay(3, 1.5, channels=4), snn.GradedSpikes(4, 1.3), lif()
    )


def rnn() -> nn.Module:
    leaky = snn.RLeaky(0.9, linear_features=8, init_hidden=True)
    return nn.Sequential(
        nn.Linear(6, 8), leaky, nn.Linear(8, 4), snn.SLSTM(4, 3, init_hidden=True, threshold=0.1)
    )


IMAGE, VECTOR = (1, 6, 6), (6,)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, IMAGE),
    "conv with batch norm": (ConvNet, IMAGE),
    "conv with group norm": (lambda: ConvNet(lambda n: nn.GroupNorm(2, n)), IMAGE),
    "branches": (Branches, VECTOR),
    "recurrent neurons": (rnn, VECTOR),
    "delays and graded spikes": (layered, VECTOR),
    "shapes and unlisted operations": (Shaped, VECTOR),
    "feedback through an attribute": (Recurrent, VECTOR),
    "a list that grows": (Counting, VECTOR),
    "a neuron called twice": (Twice, VECTOR),
    "a decision on values": (Deciding, VECTOR),
    "in-place writes": (InPlace, VECTOR),
}
