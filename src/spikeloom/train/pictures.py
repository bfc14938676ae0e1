"""Pictures of a finished training: learning curves, and a test sample through the network."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.checks import require
from ..core.style import bare_figure, colours, integer_ticks, label, tidy
from ..core.tree import reset
from ..spikeplot import loss_curves, raster
from .checkpoint import atomic
from .job import Job
from .model import fork_random_state

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_curves", "draw_raster", "pictures_missing"]

SHOWN_LAYERS = 3  # hidden layers with a raster of their own
WAIT = "drawing the pictures of a run"


def pictures_missing() -> str | None:
    """Why no picture can be drawn; None if matplotlib is there."""
    try:
        require("matplotlib", extra="viz", purpose=WAIT)
    except ImportError as error:
        return str(error)
    return None


def draw_curves(history: list[dict[str, float]], path: Path, title: str) -> None:
    """Loss, accuracy and spike rate over the epochs, as PNG."""
    fig = bare_figure(13, 3.6, WAIT)
    loss_curves([{**row} for row in history], fig, title=title)
    write(fig, path)


def draw_raster(job: Job, path: Path) -> None:
    """Input, hidden spikes and output of the first test sample, as PNG."""
    x, target = job.samples.shown(1).x.to(job.device), int(job.samples.labels[0])
    training = job.net.training
    job.net.eval()
    try:
        with fork_random_state(job.device, job.net), torch.no_grad():
            torch.manual_seed(job.seed)
            outputs, spikes = job.forward(x)
    finally:
        job.net.train(training)
        reset(job.net)
    guess = int(job.readout.predict(job.readout.scores(outputs))[0])
    hidden = {p: s[:, 0].flatten(1) for p, s in spikes.items() if p != job.last}
    shown = dict(list(hidden.items())[:SHOWN_LAYERS])
    fig = bare_figure(11, 3.4 + 2.2 * len(shown), WAIT)
    grid = fig.add_gridspec(
        len(shown) + 1,
        2,
        width_ratios=[1, 3.4],
        height_ratios=[*[1] * len(shown), 0.9 if shown else 1],
    )
    if shown:
        draw_input(fig.add_subplot(grid[0, 0]), x[0].cpu(), job.encoder.name)
    first = None
    for row, (name, spk) in enumerate(shown.items()):
        title = f"layer {name}: {spk.shape[1]} {type(job.net.get_submodule(name)).__name__} neurons"
        first = layer(fig.add_subplot(grid[row, 1], sharex=first), spk, title)
    out = fig.add_subplot(grid[-1, 1], sharex=first)
    counts = fig.add_subplot(grid[-1, 0], sharey=out)
    draw_output(
        out,
        counts,
        outputs[:, 0].cpu(),
        target,
        guess,
        fires=job.last in spikes and job.readout.field == "spk",
    )
    verdict = "recognised" if guess == target else f"taken for {guess}"
    fig.suptitle(
        f"First test sample, class {target}: {verdict}", color=colours().ink, fontsize="x-large"
    )
    write(fig, path)


def layer(ax: "Axes", spk: Tensor, title: str) -> "Axes":
    """Raster of one hidden layer, [T, N]."""
    raster(spk, ax, color=colours().blue, linewidths=breadth(ax, len(spk)))
    mean = float((spk != 0).float().sum(0).mean())
    ax.set_title(
        f"{title}, {mean:.2f} spikes each", color=colours().ink, loc="left", fontsize="medium"
    )
    ax.set_xlabel("")
    return ax


def breadth(ax: "Axes", num_steps: int) -> float:
    """Width of a spike's mark in points: part of a time step, so that it is never a hairline."""
    points = 72 * ax.get_window_extent().width / ax.figure.dpi
    return float(min(max(0.15 * points / num_steps, 1.0), 6.0))


def draw_input(ax: "Axes", x: Tensor, encoding: str) -> None:
    """The sample: an image, time to the right for a sequence, or one bar for each feature."""
    ax.set_title("input", color=colours().ink, loc="left", fontsize="medium")
    if encoding == "sequence":
        ax.imshow(
            x.flatten(1).T.numpy(),
            aspect="auto",
            cmap="Greys",
            origin="lower",
            interpolation="nearest",
        )
        label(ax, "time step", "feature")
    elif x.dim() >= 2:
        picture = (
            x.permute(1, 2, 0).clamp(0, 1)
            if x.dim() == 3 and len(x) == 3
            else x.reshape(-1, *x.shape[-2:])[0]
        )
        ax.imshow(picture.numpy(), cmap="Greys", interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
    else:
        ax.barh(range(len(x)), x.numpy(), color=colours().grey)
        label(ax, "value", "feature")
        integer_ticks(ax.yaxis)
        tidy(ax)


def draw_output(
    ax: "Axes", counts: "Axes", outputs: Tensor, target: int, guess: int, *, fires: bool
) -> None:
    """Outputs over time, [T, N], and their sums; right class blue, wrong answer orange."""
    number = outputs.shape[1]
    used = colours()
    shades = [
        used.blue if i == target else used.orange if i == guess else used.grey
        for i in range(number)
    ]
    if fires:
        neuron = outputs.nonzero()[:, 1]
        raster(outputs, ax, color=[shades[i] for i in neuron], linewidths=breadth(ax, len(outputs)))
        ax.set_title("output", color=colours().ink, loc="left", fontsize="medium")
        label(counts, "spikes")
        bars = (outputs != 0).sum(0).numpy()
    else:
        ax.imshow(
            outputs.T.numpy(), aspect="auto", cmap="Greys", origin="lower", interpolation="nearest"
        )
        ax.set_title("output: membrane", color=colours().ink, loc="left", fontsize="medium")
        label(counts, "highest membrane")
        bars = outputs.max(0).values.numpy()
    ax.set_xlabel("time step", color=colours().ink)
    ax.set_ylabel("class", color=colours().ink)
    counts.barh(range(number), bars, color=shades)
    counts.set_ylabel("class", color=colours().ink)
    if number <= 12:
        counts.set_yticks(range(number))
    tidy(counts)
    integer_ticks(counts.xaxis)


def write(fig: "Figure", path: Path) -> None:
    """Save as PNG, atomically."""
    with atomic(path) as temporary:
        fig.savefig(temporary)
