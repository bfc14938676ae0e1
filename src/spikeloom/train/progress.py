"""Display of a running training: a bar on a terminal, a line per epoch elsewhere, or nothing."""

import html
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from torch import Tensor

from ..core.checks import require
from .result import shown

__all__ = ["Bar", "Lines", "Notebook", "Progress", "progress_for"]

REDRAW = 0.1  # seconds between two countings of spikes


class Progress:
    """Shows nothing; the others override it."""

    def say(self, text: str) -> None:
        """One line beside the progress."""

    def start(self, epochs: int, batches: int, done: int) -> None:
        """The training begins, or goes on after ``done`` batches."""

    def batch(self, loss: float, spikes: dict[str, Tensor]) -> None:
        """Called after a batch: mean loss of the epoch so far, spikes of each layer in it."""

    def epoch(self, row: dict[str, float]) -> None:
        """An epoch has ended with this row of the history."""

    def close(self) -> None:
        """The training has ended or stopped."""


class Lines(Progress):
    """One line for each epoch.

    >>> lines = Lines(sys.stdout)
    >>> lines.start(epochs=30, batches=1, done=29)
    >>> lines.epoch({"epoch": 30, "train_loss": 0.5, "test_accuracy": 0.975, "spike_rate": 0.05})
    epoch 30/30  loss 0.5000  test accuracy 97.50 %  spikes 0.050 per neuron and step
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def start(self, epochs: int, batches: int, done: int) -> None:
        self.epochs = epochs
        self.first = done / batches
        self.begin = time.perf_counter()

    def epoch(self, row: dict[str, float]) -> None:
        number = int(row["epoch"])
        text = f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}  {summary(row)}"
        self.say(text + left(self.begin, number - self.first, self.epochs - number))


class Bar(Progress):
    """A bar over all batches with loss, accuracy, spike rate and time left.

    Args:
        tqdm: the class of bars.
        stream: the terminal.
    """

    def __init__(self, tqdm: Callable[..., Any], stream: TextIO) -> None:
        self.tqdm, self.stream = tqdm, stream
        self.bar: Any = None
        self.drawn = 0.0

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def start(self, epochs: int, batches: int, done: int) -> None:
        form = "{desc} {bar} {percentage:3.0f} %{postfix}, {remaining} left"
        self.epochs = epochs
        self.accuracy = ""
        # tqdm draws nothing on a terminal that does not know its width
        width = shutil.get_terminal_size().columns - 1
        self.bar = self.tqdm(
            total=epochs * batches, initial=done, bar_format=form, file=self.stream, ncols=width
        )
        self._name(done // batches + 1)

    def _name(self, number: int) -> None:
        self.bar.set_description_str(
            f"epoch {min(number, self.epochs)}/{self.epochs}", refresh=False
        )

    def batch(self, loss: float, spikes: dict[str, Tensor]) -> None:
        if time.perf_counter() - self.drawn > REDRAW:
            fired = sum(int(spk.count_nonzero()) for spk in spikes.values())
            rate = fired / max(sum(spk.numel() for spk in spikes.values()), 1)
            self.bar.set_postfix_str(
                f"loss {loss:.3f}{self.accuracy}, spikes {rate:.3f}", refresh=False
            )
            self.drawn = time.perf_counter()
        self.bar.update()

    def epoch(self, row: dict[str, float]) -> None:
        name = judged(row)
        part = name.partition("_")[0]
        self.accuracy = f", {part} {shown(name, row[name], 1)}"
        self._name(int(row["epoch"]) + 1)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Notebook(Progress):
    """A bar and the learning curve in one place of a notebook, drawn anew while the training runs.

    Args:
        display: IPython's function of that name.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self.display = display
        self.texts: list[str] = []
        self.rows: list[dict[str, float]] = []
        self.total, self.done, self.drawn = 1, 0, 0.0
        self.handle: Any = None

    def say(self, text: str) -> None:
        self.texts.append(text)
        self._draw()

    def start(self, epochs: int, batches: int, done: int) -> None:
        self.total, self.done, self.rows = epochs * batches, done, []
        self._draw()

    def batch(self, loss: float, spikes: dict[str, Tensor]) -> None:
        self.done += 1
        if time.perf_counter() - self.drawn > REDRAW:
            self._draw()

    def epoch(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        self._draw()

    def _draw(self) -> None:
        self.drawn = time.perf_counter()
        if self.handle is None:
            self.handle = self.display(self, display_id=True)
        else:
            self.handle.update(self)

    def _repr_html_(self) -> str:
        texts = [
            *self.texts,
            *(f"epoch {row['epoch']:g}: {summary(row)}" for row in self.rows[-1:]),
        ]
        lines = "<br>".join(map(html.escape, texts))
        bar = f'<progress value="{self.done}" max="{self.total}"></progress>'
        return f"<div>{lines}<br>{bar}<br>{self._curve()}</div>"

    def _curve(self) -> str:
        """The training loss over the epochs as a line from the highest to 0."""
        losses = [row["train_loss"] for row in self.rows]
        if len(losses) < 2:
            return ""
        width, height, top = 240, 60, max(*losses, 1e-12)
        points = " ".join(
            f"{width * i / (len(losses) - 1):.1f},{height * (1 - loss / top):.1f}"
            for i, loss in enumerate(losses)
        )
        line = f'<polyline points="{points}" fill="none" stroke="currentColor"/>'
        return f'<svg width="{width}" height="{height}">{line}</svg> training loss'


def summary(row: dict[str, float]) -> str:
    """Loss, the figure by which an epoch is judged, and spike rate of an epoch."""
    name = judged(row)
    words = name.replace("train_", "training ").replace("_", " ")
    parts = [f"loss {row['train_loss']:.4f}"]
    if name != "train_loss":
        parts.append(f"{words} {shown(name, row[name])}")
    if "spike_rate" in row:
        parts.append(f"spikes {row['spike_rate']:.3f} per neuron and step")
    return "  ".join(parts)


def judged(row: dict[str, float]) -> str:
    """The figure by which an epoch is judged, of those that are there.

    >>> judged({"train_loss": 0.5, "validation_loss": 0.6})
    'validation_loss'
    """
    parts = ("validation", "test", "train")
    return next(
        name for part in parts for name in (f"{part}_accuracy", f"{part}_loss") if name in row
    )


def left(begin: float, done: float, remaining: int) -> str:
    """The time left at the pace so far, as the end of a line; empty if unknown or over.

    Args:
        begin: when the run began or resumed, in seconds of ``time.perf_counter``.
        done: epochs since then; 0 where the last batch of an epoch had been trained on before.
        remaining: epochs.

    >>> left(time.perf_counter(), 2.5, 0)
    ''
    """
    if done <= 0 or not remaining:
        return ""
    return f"  {clock((time.perf_counter() - begin) / done * remaining)} left"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or with hours.

    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress_for(wanted: bool, stream: TextIO | None = None) -> Progress:
    """The progress for the argument ``progress`` of `fit`, on standard error.

    On a terminal that is a bar, if tqdm is there; in a notebook a bar with a curve; in a file or a
    pipe one line an epoch.
    """
    stream = sys.stderr if stream is None else stream
    if not wanted or stream is None:  # a process without console has no standard error
        return Progress()
    display = _of_notebook()
    if display is not None:
        return Notebook(display)
    if not stream.isatty():
        return Lines(stream)
    try:
        tqdm = require("tqdm", extra="viz", purpose="a progress bar").tqdm
    except ImportError:
        return Lines(stream)
    return Bar(tqdm, stream)


def _of_notebook() -> Callable[..., Any] | None:
    """IPython's ``display`` inside the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    return ipython.display.display
