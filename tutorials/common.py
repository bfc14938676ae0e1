"""What the tutorials share: how much to compute, where pictures go, images without a network, and
curves over time.

Five environment variables steer every tutorial: ``SPIKELOOM_SMOKE=1`` shrinks data and epochs until
it takes seconds (what the tests do), ``SPIKELOOM_DATA`` names a folder with MNIST (``mnist.npz`` or
the four IDX files); without it scikit-learn's 1797 digits are enlarged to 28 x 28 pixels, so that
nothing has to be downloaded, ``SPIKELOOM_OUT`` names the folder of the pictures instead of
``runs/tutorials``, ``SPIKELOOM_DEVICE`` names the device of the training instead of the CPU,
``SPIKELOOM_DARK=1`` draws on a dark background.
"""

import base64
import builtins
import json
import os
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

from spikeloom import data, spikeplot


def switched_on(variable: str) -> bool:
    """Whether an environment variable is set, and not to 0."""
    return os.environ.get(variable, "0") not in ("", "0")


class Tutorial:
    """One run of a tutorial: its size, its pictures, its figures.

    Figures that are made afterwards are in the style of the library.

    Args:
        name: of the tutorial, also of its folder of pictures.
        seed: of torch's global generator.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        self.smoke = switched_on("SPIKELOOM_SMOKE")
        self.folder = Path(os.environ.get("SPIKELOOM_OUT", "runs/tutorials")) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = torch.device(os.environ.get("SPIKELOOM_DEVICE", "cpu"))
        plt.rcParams.update(spikeplot.theme(dark=switched_on("SPIKELOOM_DARK")))
        torch.manual_seed(seed)

    def pick(self, full, smoke):
        """``full``, or ``smoke`` in a smoke run."""
        return smoke if self.smoke else full

    def picture(self, picture, name: str) -> Path:
        """Save a figure, the figure of some axes, or an animation; notebooks also show it."""
        path, notebook = self.folder / name, hasattr(builtins, "__IPYTHON__")
        moves = hasattr(picture, "to_jshtml")
        figure = picture._fig if moves else getattr(picture, "figure", picture)
        if moves:
            picture.save(path, dpi=self.pick(100, 60))
        else:
            figure.savefig(path)
        if notebook:
            self._show(figure, path if moves else None)
        if moves or not notebook:
            plt.close(figure)
        print(f"picture: {path}")
        return path

    def _show(self, figure, movie: Path | None) -> None:
        """Show in the notebook what it does not show at the end of the cell: a movie, whose figure
        would be its first frame, and a figure that pyplot does not know."""
        from IPython.display import HTML, display

        if movie is not None:
            content = base64.b64encode(movie.read_bytes()).decode()
            display(HTML(f'<img alt="{movie.stem}" src="data:image/gif;base64,{content}">'))
        elif not plt.fignum_exists(getattr(figure, "number", -1)):
            display(figure)

    def report(self, **figures: float) -> None:
        """Print the figures of this run as one line of JSON; it is the last line of every
        tutorial."""
        print(json.dumps({name: float(f"{float(value):.6g}") for name, value in figures.items()}))


def images(train: int | None = None, test: int | None = None, size: int = 28) -> data.Split:
    """MNIST from ``SPIKELOOM_DATA``, else the enlarged digits; the first ``train`` and ``test``
    samples of them.

    Returns:
        A split with samples [N, 1, size, size] in [0, 1].
    """
    root = os.environ.get("SPIKELOOM_DATA")
    split = data.mnist(root) if root else data.digits()
    x_train, y_train, x_test, y_test = split[:4]
    x_train, x_test = (_resized(x, size) for x in (x_train[:train], x_test[:test]))
    return split._replace(
        x_train=x_train, y_train=y_train[:train], x_test=x_test, y_test=y_test[:test]
    )


def _resized(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False).clamp(0, 1)


def loaders(split: data.Split, batch_size: int = 128):
    """Two ordinary PyTorch loaders, shuffled for training and in order for testing."""
    train = torch.utils.data.TensorDataset(split.x_train, split.y_train)
    test = torch.utils.data.TensorDataset(split.x_test, split.y_test)
    return (
        torch.utils.data.DataLoader(train, batch_size=batch_size, shuffle=True),
        torch.utils.data.DataLoader(test, batch_size=batch_size),
    )


def agreement(a: Tensor, b: Tensor) -> float:
    """Share of equal entries. Sums in another order move a membrane by 1e-7 and, rarely, a spike
    with it."""
    return (a == b).float().mean().item()


def timeline(
    panels: Mapping[str, Tensor | Mapping[str, Tensor]], title: str, threshold: float | None = None
):
    """Recordings one above the other on the same time axis.

    Args:
        panels: label of the vertical axis to what is drawn: [T] or [T, N]. A label with "spike" in
            it becomes a raster, any other one a curve; several curves in one panel are a mapping of
            their names.
        title: headline.
        threshold: drawn as a dashed line into panels whose label begins with "membrane".
    """
    heights = [1.0 if "spike" in label else 2.0 for label in panels]
    fig, axes = plt.subplots(
        len(panels),
        1,
        sharex=True,
        squeeze=False,
        figsize=(7, 1 + 0.8 * sum(heights)),
        height_ratios=heights,
    )
    for ax, (label, content) in zip(axes[:, 0], panels.items(), strict=True):
        ax.set_ylabel(label)
        if "spike" in label:
            spk = content.detach().reshape(len(content), -1)
            single = spk.shape[1] == 1
            spikeplot.raster(spk, ax, **({"marker": "|", "s": 200} if single else {}))
            ax.set_xlabel("")
            if single:
                ax.set_yticks([])
            continue
        curves = content if isinstance(content, Mapping) else {"": content}
        for name, values in curves.items():
            ax.plot(values.detach().reshape(len(values), -1).numpy(), label=name or None)
        if any(curves):
            ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        if threshold is not None and label.startswith("membrane"):
            ax.axhline(threshold, color="0.5", linestyle="--", linewidth=0.8)
    axes[0, 0].set_title(title)
    axes[-1, 0].set_xlabel("time step")
    return fig
