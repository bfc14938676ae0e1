"""The training loop, which can stop between any two batches and go on as if it had not."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from ..core.tree import reset
from . import checkpoint, restoring
from .folder import RunFolder
from .interrupt import Interrupted, StopRequest
from .job import Job, fork_random_state
from .measure import Tally, evaluate
from .progress import Progress
from .rules import Rule
from .settings import Settings, check_same

__all__ = ["SCHEDULES", "Trainer"]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}
ARGUMENTS = {
    "rule",
    "num_steps",
    "encode",
    "epochs",
    "batch_size",
    "schedule",
    "seed",
    "chaos",
}  # of `fit`, among the settings


class Trainer:
    """A job on its way: position, sums and history, with a checkpoint where a folder is given.

    Args:
        job: what is trained.
        settings: what determines the result, kept in the checkpoint.
        rule: how it learns.
        threads: in use, kept in the checkpoint.
        folder: where the checkpoint is written, or None for no checkpoint.
        progress: told about batches and epochs.
    """

    def __init__(
        self,
        job: Job,
        settings: Settings,
        rule: Rule,
        threads: int,
        folder: RunFolder | None,
        progress: Progress,
    ) -> None:
        self.job, self.settings, self.rule, self.threads = job, settings, rule, threads
        self.folder, self.progress = folder, progress
        self.path = None if folder is None else folder.checkpoint(job.seed)
        self.epoch = self.batch = 0  # the next batch to train on
        self.tally = Tally()
        self.history: list[dict[str, float]] = []
        self.spikes: dict[str, float] = {}
        self.wall = self.cpu = 0.0  # seconds of earlier sessions
        self._clock: tuple[float, float] | None = None  # when this session began to train
        self._resumed: dict[str, Any] | None = None
        self._begin: dict[str, torch.Tensor] = {}  # random state at the start of the epoch
        for group in job.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    @property
    def seconds(self) -> tuple[float, float]:
        """Wall and processor seconds so far, all sessions together."""
        if self._clock is None:
            return self.wall, self.cpu
        wall, cpu = self._clock
        return self.wall + time.perf_counter() - wall, self.cpu + time.process_time() - cpu

    @property
    def done(self) -> int:
        """Batches trained on so far."""
        return self.epoch * len(self.job.samples.train) + self.batch

    def train(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a checkpoint has been written where there is a path.
            RuntimeError: the loss is not finite.
        """
        self._clock = (time.perf_counter(), time.process_time())
        job = self.job
        training = job.net.training
        try:
            with fork_random_state(job.device), StopRequest() as stop:
                torch.manual_seed(job.seed)
                self.progress.start(job.epochs, len(job.samples.train), self.done)
                while self.epoch < job.epochs:
                    self._epoch(stop)
                self._stop_if(
                    stop
                )  # Ctrl-C during the last evaluation: there may be more seeds to train
            self.wall, self.cpu = self.seconds
            self._clock = None
        finally:
            self.progress.close()
            reset(job.net)
            job.net.train(training)
            if job.chaos is not None:
                job.chaos.remove()
            for group in job.optimizer.param_groups:
                group["lr"] = group["initial_lr"]

    def _epoch(self, stop: StopRequest) -> None:
        job, batches = self.job, self.job.samples.train
        job.net.train()
        if self._resumed is None:
            self._begin = self._random_state()
            stream = batches.start()
        else:
            self._restore(self._resumed["epoch"])
            self._begin = self._resumed["epoch"]
            stream = batches.start(skip=self.batch)
            if self.batch:
                self._restore(self._resumed["now"])
            self._resumed = None
        self._stop_if(stop)
        while (batch := next(stream, None)) is not None:
            self._step(*(part.to(job.device) for part in batch))
            self._stop_if(stop)  # before the next batch is fetched, which may draw random numbers
        score = evaluate(job)
        self.spikes = score.spikes_per_neuron
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "train_loss": self.tally.loss,
                "train_accuracy": self.tally.accuracy,
                "test_loss": score.loss,
                "test_accuracy": score.accuracy,
                "spike_rate": score.spike_rate,
            }
        )
        self.progress.epoch(self.history[-1])
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, Tally()
        if job.chaos is not None:
            job.chaos.epoch()
        self._begin = self._random_state()
        self.save()

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        job = self.job
        factor = job.schedule(self.done / (job.epochs * len(job.samples.train)))
        for group in job.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        outcome = self.rule.learn(job, x, y)
        if not math.isfinite(outcome.loss):
            raise RuntimeError(
                f"the loss must stay finite, got {outcome.loss} in batch {self.batch + 1} of "
                f"epoch {self.epoch + 1}; "
                "lower the learning rate, e.g. "
                f"lr={job.optimizer.param_groups[0]['initial_lr'] / 10:g}"
            )
        self.tally.add(outcome.loss, job.readout.predict(outcome.outputs), y)
        self.batch += 1
        self.progress.batch(self.tally.loss, outcome.spikes)

    def _stop_if(self, stop: StopRequest) -> None:
        if not stop.made:
            return
        where = f"stopped after {self.epoch} of {self.job.epochs} epochs"
        where += f" and {self.batch} of {len(self.job.samples.train)} batches" if self.batch else ""
        if self.path is None:
            raise Interrupted(
                f"{where}; nothing is kept, because there is no output folder (out=...)"
            )
        self.save()
        raise Interrupted(f"{where}; {self.path} holds all that is needed to go on (resume=True)")

    # -- checkpoints -------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, if there is a path."""
        if self.folder is None or self.path is None:
            return
        wall, cpu = self.seconds
        state = {
            "settings": self.settings,
            "threads": self.threads,
            "epoch": self.epoch,
            "batch": self.batch,
            "tally": self.tally.state(),
            "history": self.history,
            "spikes": self.spikes,
            "seconds": {"wall": wall, "cpu": cpu},
            "random": {"epoch": self._begin, "now": self._random_state()},
            "model": self.job.net.state_dict(),
            "optimizer": self.job.optimizer.state_dict(),
            "chaos": self.job.chaos and self.job.chaos.state_dict(),
        }
        self.folder.save(self.path, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: its settings differ; the message names the first difference. Or it holds
                what cannot be.
        """
        check_same(self.path, state["settings"], self.settings, ARGUMENTS)
        restoring.fits(str(self.path), state, self.job)
        self.job.net.load_state_dict(state["model"])
        self.job.optimizer.load_state_dict(state["optimizer"])
        if self.job.chaos is not None:
            self.job.chaos.load_state_dict(state["chaos"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.tally, self.history, self.spikes = (
            Tally(**state["tally"]),
            state["history"],
            state["spikes"],
        )
        self.wall, self.cpu = state["seconds"]["wall"], state["seconds"]["cpu"]
        self._resumed = state["random"]

    def _random_state(self) -> dict[str, torch.Tensor]:
        return checkpoint.random_state(self.job.device, self.job.samples.train.generator)

    def _restore(self, state: dict[str, torch.Tensor]) -> None:
        checkpoint.restore_random_state(state, self.job.device, self.job.samples.train.generator)
