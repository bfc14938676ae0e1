"""A conversion with its folder: an ordinary network, the converted one, and the report."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..conversion import Converted, Report, convert, fine_tune
from ..conversion.convert import check_settings, ordinary
from ..conversion.published import Diehl2015
from ..conversion.twin import Settings
from ..core import checks
from ..data import Split
from ..saving import safetensors
from ..saving.architecture import contents
from .folder import Folder
from .settings import whole

__all__ = ["ORDINARY", "ConversionFolder", "check_options", "convert_and_report"]


def mlp(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Two hidden layers of 256."""
    inputs = torch.Size(shape).numel()
    return nn.Sequential(
        *(
            nn.Flatten(),
            nn.Linear(inputs, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, classes),
        )
    )


def conv(shape: Sequence[int], classes: int) -> nn.Sequential:
    """Two convolutions with batch norm and max pooling."""

    def block(a: int, b: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)

    places = (shape[1] // 4) * (shape[2] // 4)
    return nn.Sequential(
        *block(shape[0], 16), *block(16, 32), nn.Flatten(), nn.Linear(32 * places, classes)
    )


def diehl(shape: Sequence[int], classes: int) -> nn.Sequential:
    """The convolutional network of Diehl et al. (2015), for MNIST."""
    if tuple(shape) != (1, 28, 28) or classes != 10:
        raise ValueError(
            f"model=diehl2015 is for images of 1 x 28 x 28 in 10 classes, got {list(shape)}; "
            "write model=conv"
        )
    return nn.Sequential(OrderedDict(Diehl2015().named_children()))


ORDINARY: dict[str, Callable[[Sequence[int], int], nn.Sequential]] = {
    "mlp": mlp,
    "conv": conv,
    "diehl2015": diehl,
}


class ConversionFolder(Folder):
    """The folder of a conversion: both networks, and the report as JSON and as a picture.

    >>> ConversionFolder(Path("somewhere")).held()
    []
    """

    kind = "conversion"
    begins = "begin a conversion"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ordinary = path / "ordinary.pt"
        self.network = path / "converted.safetensors"
        self.pickled = path / "converted.pt"  # of an earlier version
        self.report, self.picture = path / "report.json", path / "report.png"

    def names(self) -> list[str]:
        networks = (self.ordinary, self.network, self.pickled)
        return [path.name for path in (*networks, self.report, self.picture)]

    @property
    def first(self) -> Path:
        return self.ordinary


def check_options(
    options: dict[str, Any],
    samples: int,
    max_steps: int,
    tolerance: float,
    levels: int,
    tune_epochs: int,
) -> None:
    """Check every option of `convert_and_report` before any work.

    Raises:
        ValueError, TypeError: one is out of range, unknown, or of a wrong type.

    >>> check_options({"percentile": 99.0}, 500, 32, 0.005, 4, 3)
    """
    for name, value in (
        ("samples", samples),
        ("max_steps", max_steps),
        ("levels", levels),
        ("tune_epochs", tune_epochs),
    ):
        whole(name, value)
    checks.in_range("tolerance", tolerance, 0.0, 1.0, why="it is a fraction: 0.005 is half a point")
    check_settings(Settings(**options))


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
    check_options(options, samples, max_steps, tolerance, levels, tune_epochs)
    ordinary(
        net, data.x_train[:2], options.get("readout", "membrane")
    )  # refuses what cannot be converted
    if options.get("method") == "qcfs":
        shown = lambda epoch, loss: say(f"tuning {epoch}/{tune_epochs}  loss {loss:.4f}")  # noqa: E731
        pair = (data.x_train, data.y_train)
        net = fine_tune(net, pair, levels=levels, epochs=tune_epochs, progress=shown)
    generator = torch.Generator().manual_seed(seed)
    say(f"converting with {min(samples, len(data.x_train))} samples")
    converted = convert(net, data.x_train[:samples], **options, generator=generator)
    say(f"running {len(data.x_test)} test samples for {max_steps} steps")
    report = converted.report(
        (data.x_test, data.y_test), max_steps=max_steps, tolerance=tolerance, generator=generator
    )
    safetensors.write(folder.network, *contents(converted), folder.clear)
    report.save(folder.report)
    return converted, report
