"""Callbacks of `fit`: what happens after each batch and each epoch, and when a training ends.

A callback sees the training as a `TrainingRun`. Its ``state_dict`` enters the checkpoint, so that a
resumed training goes on as if it had never stopped.
"""

import csv
import io
import math
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ..core.checks import require
from ..core.numbers import callable_, flag, path_of, real, whole
from . import checkpoint
from .checkpoint import atomic

__all__ = [
    "BestCheckpoint",
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "TensorBoardLog",
    "TrainingRun",
    "callbacks_of",
]


class TrainingRun(Protocol):
    """A training as callbacks see it.

    Attributes:
        net: the network that is trained.
        optimizer: of torch, which changes its parameters.
        epoch: epochs that are finished.
        epochs: epochs that there will be.
        step: batches trained on so far, of all epochs.
        loss: of the last batch.
        history: one row for each finished epoch, see `Result`.
        seed: of this training.
        out: folder of the run, or None.
        main: whether this is the first of several processes, the one that writes files.

    >>> def show(run: TrainingRun) -> None:
    ...     print(run.epoch, "of", run.epochs)
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
    >>> options = {"num_steps": 5, "epochs": 1, "progress": False}
    >>> _ = snn.fit(net, snn.data.iris(), callbacks=[show], **options)
    1 of 1
    """

    @property
    def net(self) -> nn.Module: ...
    @property
    def optimizer(self) -> torch.optim.Optimizer: ...
    @property
    def epoch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def history(self) -> list[dict[str, float]]: ...
    @property
    def seed(self) -> int: ...
    @property
    def out(self) -> Path | None: ...
    @property
    def main(self) -> bool: ...
    def file(self, name: str) -> Path:
        """Path of a file of this seed in the folder of the run; without a folder, an error."""
        ...

    def stop(self, reason: str) -> None:
        """End the training after this epoch."""
        ...


class Callback:
    """Does nothing; override what is needed. Every method receives the `TrainingRun`.

    An own callback in three lines:

    >>> import spikeloom as snn
    >>> class Print(Callback):
    ...     def on_epoch(self, run):
    ...         print(run.epoch, run.history[-1]["train_accuracy"] > 0)
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
    >>> data = snn.data.iris()
    >>> _ = snn.fit(net, data, num_steps=5, epochs=2, callbacks=[Print()], progress=False)
    1 True
    2 True
    """

    def on_start(self, run: TrainingRun) -> None:
        """The training begins, or goes on."""

    def on_step(self, run: TrainingRun) -> None:
        """A batch was trained on."""

    def on_epoch(self, run: TrainingRun) -> None:
        """An epoch has ended; ``run.history[-1]`` is its row."""

    def on_end(self, run: TrainingRun) -> None:
        """The last epoch has ended, before the test samples are evaluated for the last time."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class _Function(Callback):
    """A function that is called after each epoch."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def on_epoch(self, run: TrainingRun) -> None:
        self.function(run)


def callbacks_of(given: Any) -> list[Callback]:
    """The argument ``callbacks`` of `fit` as a list.

    Raises:
        TypeError: an element is neither a callback nor a function.

    >>> len(callbacks_of([CSVLog("log.csv"), print]))
    2
    """
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    for each in listed:
        if isinstance(each, type) and issubclass(each, Callback):
            raise TypeError(
                f"callbacks must hold objects, got the class {each.__name__}; write "
                f"callbacks=[snn.train.{each.__name__}()]"
            )
        callable_or = isinstance(each, Callback) or callable(each)
        if not callable_or:
            callable_("callbacks", each, "[snn.train.EarlyStopping()]")
    return [each if isinstance(each, Callback) else _Function(each) for each in listed]


class _Monitor(Callback):
    """Base of the callbacks that watch one figure of the history.

    Args:
        monitor: name of the figure; a loss is better when lower, all else when higher.
    """

    def __init__(self, monitor: str) -> None:
        if not isinstance(monitor, str):
            raise TypeError(
                f'monitor must be a name, got {monitor!r}; write monitor="validation_loss"'
            )
        if monitor.startswith("test_"):
            raise ValueError(
                f"monitor must not be a figure of the test samples, got {monitor!r}: what is "
                'chosen by them is too good; write monitor="validation_loss" and '
                "fit(validation=0.1)"
            )
        self.monitor = monitor
        self.best, self.best_epoch = math.nan, 0

    def on_start(self, run: TrainingRun) -> None:
        if run.step == 0:  # one object may serve several trainings
            self.best, self.best_epoch = math.nan, 0

    def improved(self, run: TrainingRun, by: float = 0.0) -> bool:
        """Whether the last epoch is the best one so far.

        Raises:
            ValueError: the history has no such figure.
        """
        row = run.history[-1]
        if self.monitor not in row:
            hint = "; write fit(validation=0.1)" if self.monitor.startswith("validation") else ""
            raise ValueError(f"monitor must be one of {', '.join(row)}, got {self.monitor!r}{hint}")
        value = row[self.monitor]
        gain = self.best - value if "loss" in self.monitor else value - self.best
        if self.best_epoch and not gain > by:
            return False
        self.best, self.best_epoch = value, run.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]


class EarlyStopping(_Monitor):
    """Ends the training when a figure has not improved for some epochs.

    Args:
        monitor: name of the figure in the history.
        patience: epochs without improvement after which the training ends.
        min_delta: an improvement must be larger than this, in the unit of the figure.

    >>> EarlyStopping(patience=3).monitor
    'validation_loss'
    """

    def __init__(
        self, monitor: str = "validation_loss", *, patience: int = 5, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor)
        self.patience = whole("patience", patience, 1)
        self.min_delta = real("min_delta", min_delta, 0.0, example=0.0)

    def on_epoch(self, run: TrainingRun) -> None:
        if not self.improved(run, self.min_delta) and run.epoch - self.best_epoch >= self.patience:
            run.stop(
                f"{self.monitor} has not improved for {self.patience} epochs; it was "
                f"{self.best:.4g} after epoch {self.best_epoch}"
            )


class BestCheckpoint(_Monitor):
    """Saves the weights of the best epoch in ``best.pt``, or in memory if there is no folder.

    Args:
        monitor: name of the figure in the history.
        restore: give these weights back to the network at the end, before the test.

    >>> BestCheckpoint("validation_accuracy").restore
    True
    """

    def __init__(self, monitor: str = "validation_loss", *, restore: bool = True) -> None:
        super().__init__(monitor)
        self.restore = flag("restore", restore)
        self._weights: dict[str, Any] = {}

    def on_epoch(self, run: TrainingRun) -> None:
        if not self.improved(run):
            return
        model = {name: value.clone() for name, value in run.net.state_dict().items()}
        if run.out is None:
            self._weights = model
        elif run.main:
            header = {"monitor": self.monitor, "best": self.best, "epoch": self.best_epoch}
            checkpoint.save(run.file("best.pt"), {**header, "model": model})

    def on_end(self, run: TrainingRun) -> None:
        if self.restore and self.best_epoch:
            model = self._weights if run.out is None else checkpoint.load(run.file("best.pt"))
            run.net.load_state_dict(model if run.out is None else model["model"])


class CSVLog(Callback):
    """Writes the history to a CSV file, after each epoch.

    Args:
        path: of the file. Default: ``history.csv`` in the run's folder.

    >>> CSVLog("log.csv").path.name
    'log.csv'
    """

    def __init__(self, path: "str | PathLike[str] | None" = None) -> None:
        self.path = None if path is None else path_of("path", path)

    def on_start(self, run: TrainingRun) -> None:
        self._path(run)  # an error before any work

    def on_epoch(self, run: TrainingRun) -> None:
        if not run.main:
            return
        names = dict.fromkeys(name for row in run.history for name in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(run.history)
        with atomic(self._path(run)) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")

    def _path(self, run: TrainingRun) -> Path:
        return run.file("history.csv") if self.path is None else self.path


class TensorBoardLog(Callback):
    """Writes the history to a folder that TensorBoard shows; needs the package tensorboard.

    Args:
        path: of the folder. Default: ``tensorboard`` in the run's folder.
        every: batches between two points of the training loss.

    >>> TensorBoardLog("logs", every=10).every
    10
    """

    def __init__(self, path: "str | PathLike[str] | None" = None, *, every: int = 50) -> None:
        self.path = None if path is None else path_of("path", path)
        self.every = whole("every", every, 1)
        self._writer: Any = None

    def on_start(self, run: TrainingRun) -> None:
        if not run.main:
            return
        require("tensorboard", extra="log", purpose="train.TensorBoardLog")
        from torch.utils.tensorboard.writer import SummaryWriter

        path = run.file("tensorboard") if self.path is None else self.path
        if run.step == 0 and self.path is None:
            for old in path.glob("events.out.tfevents.*"):  # of a run that this one replaces
                old.unlink()
        self._writer = SummaryWriter(str(path), purge_step=run.step if run.step else None)

    def on_step(self, run: TrainingRun) -> None:
        if self._writer is not None and run.step % self.every == 0:
            self._writer.add_scalar("batch/train_loss", run.loss, run.step)

    def on_epoch(self, run: TrainingRun) -> None:
        if self._writer is None:
            return
        for name, value in run.history[-1].items():
            if name != "epoch":
                part, _, figure = name.partition("_")
                self._writer.add_scalar(f"{figure or name}/{part}", value, run.epoch)
        self._writer.flush()

    def on_end(self, run: TrainingRun) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
