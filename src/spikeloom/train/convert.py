"""A conversion with its folder: an ordinary network that is loaded or trained, the converted one, and the report."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..conversion import Converted, Report, convert, fine_tune
from ..conversion.published import Diehl2015
from ..core import checks
from ..data import Split
from .progress import clock

__all__ = ["ORDINARY", "ConversionFolder", "convert_and_report", "load_network", "train_ordinary"]


def mlp(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Two hidden layers of 256."""
    inputs = torch.Size(shape).numel()
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes))
    )


def conv(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Two convolutions with batch norm and max pooling."""
    block = lambda a, b: (nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))  # noqa: E731
    places = (shape[1] // 4) * (shape[2] // 4)
    return nn.Sequential(*block(shape[0], 16), *block(16, 32), nn.Flatten(), nn.Linear(32 * places, classes))


def diehl(shape: Sequence[int], classes: int) -> nn.Sequential:
    """The convolutional network of Diehl et al. (2015), for MNIST."""
    if tuple(shape) != (1, 28, 28) or classes != 10:
        raise ValueError(
            f"model=diehl2015 is for images of 1 x 28 x 28 in 10 classes, got {list(shape)}; write model=conv"
        )
    return Diehl2015()


ORDINARY: dict[str, Callable[[Sequence[int], int], nn.Sequential]] = {"mlp": mlp, "conv": conv, "diehl2015": diehl}


def train_ordinary(
    net: nn.Module, data: Split, epochs: int, lr: float, say: Callable[[str], None], batch: int = 64
) -> nn.Module:
    """Train an ordinary network with Adam and a learning rate that falls to 0; it ends in evaluation mode."""
    steps = epochs * -(-len(data.x_train) // batch)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begin = time.perf_counter()
    for epoch in range(1, epochs + 1):
        net.train()
        total = 0.0
        for index in torch.randperm(len(data.x_train)).split(batch):
            loss = cross_entropy(net(data.x_train[index]), data.y_train[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(index)
        left = (time.perf_counter() - begin) / epoch * (epochs - epoch)
        say(f"training {epoch}/{epochs}  loss {total / len(data.x_train):.4f}  {clock(left)} left")
    return net.eval()


def load_network(path: Path) -> nn.Module:
    """A network that was saved as a whole, ``torch.save(net, path)``. Reading a file runs its code: only your own ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds something else, such as weights only, or needs a class that cannot be found.
    """
    if not path.exists():
        raise FileNotFoundError(f"model={path} is neither a file nor one of {', '.join(ORDINARY)}; write one of them")
    try:
        found = torch.load(path, weights_only=False, map_location="cpu")
    except (AttributeError, ModuleNotFoundError) as error:
        raise ValueError(
            f"{path} needs the code of its network ({error}); run where that can be imported, or save a traced one: "
            "torch.save(torch.fx.symbolic_trace(net), path)"
        ) from error
    if not isinstance(found, nn.Module):
        kind = type(found).__name__
        raise ValueError(f"{path} holds a {kind}, not a network; save the whole one: torch.save(net, path)")
    return found.eval()


class ConversionFolder:
    """The folder of a conversion: network, report as JSON and as a picture.

    >>> ConversionFolder(Path("somewhere")).held()
    []
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ordinary, self.network = path / "ordinary.pt", path / "converted.pt"
        self.report, self.picture = path / "report.json", path / "report.png"

    def held(self) -> list[Path]:
        """The files of a conversion that are there."""
        return [p for p in (self.ordinary, self.network, self.report, self.picture) if p.exists()]

    def prepare(self, force: bool) -> None:
        """Refuse to begin where a conversion would be lost; with ``force`` remove its files.

        Raises:
            FileExistsError: there is one, and ``force`` was not said.
            NotADirectoryError: the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"out must be a folder, got the file {self.path}; write another path")
        if self.held() and not force:
            names = ", ".join(path.name for path in self.held())
            raise FileExistsError(
                f"{self.path} holds a conversion already ({names}); write another folder, or force=True"
            )
        for path in self.held():
            path.unlink()
        self.path.mkdir(parents=True, exist_ok=True)


def convert_and_report(
    net: nn.Module,
    data: Split,
    folder: ConversionFolder,
    options: dict[str, Any],
    *,
    samples: int,
    max_steps: int,
    tolerance: float,
    levels: int,
    tune_epochs: int,
    seed: int,
    say: Callable[[str], None],
) -> tuple[Converted, Report]:
    """Convert a network, report on the test samples, and write both."""
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples must be a positive integer, got {samples!r}; write samples=500")
    checks.in_range("tolerance", tolerance, 0.0, 1.0, why="it is a fraction: 0.005 is half a point")
    if options.get("method") == "qcfs":
        shown = lambda epoch, loss: say(f"tuning {epoch}/{tune_epochs}  loss {loss:.4f}")  # noqa: E731
        pair = (data.x_train, data.y_train)
        net = fine_tune(net, pair, levels=levels, epochs=tune_epochs, progress=shown)
    generator = torch.Generator().manual_seed(seed)
    say(f"converting with {min(samples, len(data.x_train))} samples")
    converted = convert(net, data.x_train[:samples], **options, generator=generator)
    say(f"running {len(data.x_test)} test samples for {max_steps} steps")
    report = converted.report((data.x_test, data.y_test), max_steps=max_steps, tolerance=tolerance, generator=generator)
    torch.save(converted, folder.network)
    report.save(folder.report)
    return converted, report
