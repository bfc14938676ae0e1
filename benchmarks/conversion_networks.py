"""The ordinary networks of `conversion.py`: their layers, their training, and the folder where they
are kept."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import spikeloom as snn

__all__ = ["NETWORKS", "Network", "accuracy", "trained"]


def diehl() -> nn.Module:
    """28x28-12c5-2s-64c5-2s-10o of Diehl et al. (2015): no bias, average pooling, half of the maps
    dropped."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Dropout(0.5),
        nn.Conv2d(12, 64, 5, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(1024, 10, bias=False),
    )


def mlp() -> nn.Module:
    """784-512-512-10 with biases."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def vgg() -> nn.Module:
    """Five convolutions with batch norm, max pooling after three of them."""
    return nn.Sequential(
        *_block(3, 24),
        nn.MaxPool2d(2),
        *_block(24, 48),
        *_block(48, 48),
        nn.MaxPool2d(2),
        *_block(48, 96),
        nn.MaxPool2d(2),
        *_block(96, 96),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


class Residual(nn.Module):
    """Two convolutions whose result is added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()  # one module, two calls

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, in the shape of ``x``."""
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    """Residual adds at three resolutions, each of which is concatenated with the pooled features
    before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_block(3, 16), nn.AvgPool2d(2))
        self.res1 = Residual(16)
        self.wide = nn.Sequential(*_block(16, 32))
        self.res2 = Residual(48)
        self.mix = nn.Sequential(*_block(48, 96))
        self.res3 = Residual(96)
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, [B, 10]."""
        x = self.res1(self.stem(x))
        x = self.pool(torch.cat([x, self.wide(x)], dim=1))
        x = self.pool(self.mix(self.res2(x)))
        x = self.res3(x)
        return self.fc(x.mean(dim=(2, 3)))


class Network(NamedTuple):
    """How a network is trained.

    Args:
        build: the network at its beginning.
        data: ``"mnist"`` or ``"cifar10"``.
        epochs: passes over the training images.
        lr: learning rate of Adam at its highest.
        mirrored: whether half of the images are mirrored and all are shifted by up to ``shift``
            pixels.
    """

    build: Callable[[], nn.Module]
    data: str
    epochs: int
    lr: float
    mirrored: bool = False


NETWORKS = {
    "diehl": Network(diehl, "mnist", 9, 4e-3),
    "mlp": Network(mlp, "mnist", 4, 1e-3),
    "vgg": Network(vgg, "cifar10", 6, 4e-3, mirrored=True),
    "resnet": Network(ResNet, "cifar10", 8, 4e-3, mirrored=True),
}


def trained(
    name: str, folder: Path, data: snn.data.Split, seed: int = 0, batch: int = 100
) -> nn.Module:
    """A network that the folder holds, or a new one, which it then holds; in evaluation mode."""
    torch.manual_seed(seed)
    what = NETWORKS[name]
    net = what.build().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    path = folder / f"{name}-{seed}.pt"
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    x, y = data.x_train, data.y_train
    steps = what.epochs * (len(x) // batch)
    optimizer = torch.optim.Adam(net.parameters(), weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, what.lr, total_steps=steps)
    start = time.process_time()
    for epoch in range(what.epochs):
        net.train()
        losses = []
        for index in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            loss = cross_entropy(net(_varied(x[index]) if what.mirrored else x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        score = accuracy(net, data.x_test, data.y_test)
        spent = time.process_time() - start
        print(
            f"{name} {epoch}: loss {sum(losses) / len(losses):.4f}, test {score:.2f} %, "
            f"{spent:.0f} CPU-s",
            flush=True,
        )
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return net.eval()


def _varied(x: Tensor, shift: int = 3) -> Tensor:
    """Images, all shifted alike and, half of the time, mirrored."""
    x = x.flip(-1) if torch.rand(()) < 0.5 else x
    moves = torch.randint(-shift, shift + 1, (2,)).tolist()
    return x.roll(moves, (-2, -1))


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Percentage of images that the network classifies correctly."""
    net.eval()
    right = sum(
        int((net(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True)
    )
    return 100 * right / len(y)
