"""The training loop, which can stop between any two batches and go on as if it had not."""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from ..core.tree import generators_of, reset
from . import checkpoint, restoring
from .callbacks import Callback
from .folder import RunFolder
from .interrupt import Interrupted, StopRequest
from .job import Job, check_lengths, fork_random_state
from .measure import Score, Tally, evaluate, hits_of
from .parallel import copies, whole_batch_norm
from .processes import Share, everywhere, gathered, same_weights
from .progress import Progress
from .rules import Rule
from .samples import Batch
from .settings import Settings, check_same

__all__ = ["Trainer"]

ARGUMENTS = {
    "rule",
    "num_steps",
    "encode",
    "epochs",
    "batch_size",
    "schedule",
    "seed",
    "chaos",
    "clip",
    "accumulate",
    "precision",
    "batch_norm",
    "validation",
}  # of `fit`, among the settings


class Trainer:
    """A job on its way: position, sums and history, with a checkpoint where a folder is given.

    Callbacks see it as a `callbacks.TrainingRun`.

    Args:
        job: what is trained.
        settings: what determines the result, saved in the checkpoint.
        rule: how it learns.
        threads: in use, saved in the checkpoint.
        folder: where the checkpoint is written, or None for no checkpoint.
        progress: notified of batches and epochs.
        callbacks: called after batches and epochs.
        here: this process; the first one writes.
    """

    def __init__(
        self,
        job: Job,
        settings: Settings,
        rule: Rule,
        threads: int,
        folder: RunFolder | None,
        progress: Progress,
        callbacks: Sequence[Callback] = (),
        here: Share | None = None,
    ) -> None:
        self.job, self.settings, self.rule, self.threads = job, settings, rule, threads
        self.folder, self.progress, self.callbacks = folder, progress, list(callbacks)
        self.here = Share() if here is None else here
        self.path = None if folder is None else folder.checkpoint(job.seed)
        self.epoch = self.batch = 0  # the next batch to train on
        self.tally = Tally()
        self.loss = math.nan
        self.history: list[dict[str, float]] = []
        self.spikes: dict[str, float] = {}
        self.test: Score | None = None  # after the last epoch
        self.stopped = ""  # why a callback has ended the training
        self.wall = self.cpu = 0.0  # seconds of earlier sessions
        self._clock: tuple[float, float] | None = None  # when this session began to train
        self._resumed: dict[str, Any] | None = None
        self._begin: dict[str, torch.Tensor] = {}  # random state at the start of the epoch

    # -- what callbacks see ------------------------------------------------------------------------

    @property
    def net(self) -> nn.Module:
        """The network."""
        return self.job.net

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of torch."""
        return self.job.optimizer.optimizer

    @property
    def epochs(self) -> int:
        """Epochs that there will be."""
        return self.job.epochs

    @property
    def seed(self) -> int:
        """Of this training."""
        return self.job.seed

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.here.main

    @property
    def out(self) -> Path | None:
        """Folder of the run."""
        return None if self.folder is None else self.folder.path

    @property
    def step(self) -> int:
        """Batches trained on so far."""
        return self.epoch * len(self.job.samples.train) + self.batch

    def file(self, name: str) -> Path:
        """Path of a file of this seed in the folder of the run.

        Raises:
            ValueError: there is no folder.
        """
        if self.folder is None:
            raise ValueError(
                f"{name} needs a folder or a path, got none; write out=... or give the callback a "
                "path"
            )
        return self.folder.of_seed(name, self.seed)

    def stop(self, reason: str) -> None:
        """End the training after this epoch."""
        self.stopped = reason or "a callback requested it"

    # -- the loop ----------------------------------------------------------------------------------

    @property
    def seconds(self) -> tuple[float, float]:
        """Wall and processor seconds so far, all sessions together."""
        if self._clock is None:
            return self.wall, self.cpu
        wall, cpu = self._clock
        return self.wall + time.perf_counter() - wall, self.cpu + time.process_time() - cpu

    def train(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a checkpoint has been written where there is a path.
            RuntimeError: the loss is not finite.
        """
        self._clock = (time.perf_counter(), time.process_time())
        job = self.job
        training = job.net.training
        same_weights(job.net)
        try:
            with (
                fork_random_state(job.device),
                copies(job, self.rule.whole),
                StopRequest() as stop,
            ):
                torch.manual_seed(job.seed + self.here.rank)
                self._begin = self._random_state()
                self.progress.start(job.epochs, len(job.samples.train), self.step)
                for callback in self.callbacks:
                    callback.on_start(self)
                while self.epoch < job.epochs and not self.stopped:
                    self._epoch(stop)
                self._stop_if(
                    stop
                )  # Ctrl-C during the last evaluation: there may be more seeds to train
                self._end()
            self.wall, self.cpu = self.seconds
            self._clock = None
        finally:
            self.progress.close()
            reset(job.net)
            job.net.train(training)
            if job.chaos is not None:
                job.chaos.remove()
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]

    def _epoch(self, stop: StopRequest) -> None:
        job, batches = self.job, self.job.samples.train
        job.net.train()
        if self._resumed is None:
            self._begin = self._random_state()
            stream = batches.start()
        else:
            self._restore(self._resumed["epoch"])
            self._begin = self._random_state()
            stream = batches.start(skip=self.batch)
            if self.batch:
                self._restore(self._resumed["now"])
            self._resumed = None
        self._stop_if(stop)
        while (batch := next(stream, None)) is not None:
            stopping = self._step(batch, stop)
            if stopping and not job.optimizer.pending:
                self._stop()  # before the next batch is fetched, which may draw numbers
        self.history.append(self._row())
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, Tally()
        self.progress.epoch(self.history[-1])
        if job.chaos is not None:
            job.chaos.epoch()
        self._begin = self._random_state()
        for callback in self.callbacks:
            callback.on_epoch(self)
        self._stop_everywhere()
        self.save()

    def _row(self) -> dict[str, float]:
        """The figures of the epoch that has ended."""
        samples = self.job.samples
        row = {"epoch": self.epoch + 1, "train_loss": self.tally.loss}
        if self.job.readout.classifies:
            row["train_accuracy"] = self.tally.accuracy
        judged = self.tally.loss
        for part, held in (("validation", samples.validation), ("test", samples.test)):
            if held is None or (part == "test" and samples.validation is not None):
                continue
            score = self._evaluate(held)
            row |= score.row(part)
            row["spike_rate"] = score.tally.spike_rate
            self.spikes = score.tally.spikes_per_neuron
            judged = score.tally.loss if part == "validation" else judged
            self.test = score if part == "test" else None
        self.job.optimizer.schedule.epoch(judged)
        return row

    def _evaluate(self, batches: Any) -> Score:
        same_weights(self.job.net)  # batch norm has other statistics in each process
        return evaluate(self.job, batches, self.here)

    def _end(self) -> None:
        """Callbacks, which may restore other weights, and the test."""
        for callback in self.callbacks:
            callback.on_end(self)
        held = self.job.samples.test
        if held is not None and (self.test is None or self.callbacks):
            self.test = self._evaluate(held)
            self.spikes = self.test.tally.spikes_per_neuron
        if self.stopped:
            self.progress.say(f"ended after epoch {self.epoch}: {self.stopped}")

    def _step(self, batch: Batch, stop: StopRequest) -> bool:
        """Train on a batch, and return whether a process is to stop."""
        job, count = self.job, batch.count
        x, y = batch.x.to(job.device), batch.y.to(job.device)
        batches = len(job.samples.train)
        job.optimizer.schedule.before(self.step / (job.epochs * batches))
        job.optimizer.begin(count, batch.total, last=self.batch + 1 == batches)
        together = self.here.size > 1
        lengths, options = None, {}
        if batch.lengths is not None:
            check_lengths(self.rule, job)  # a loader may have had batches of equal length before
            lengths = batch.lengths.to(job.device)
            options = {"lengths": lengths}
        with whole_batch_norm(count > 0) if together else nullcontext():
            outcome = self.rule.learn(job, x, y, **options)
        hits = hits_of(job, job.readout.read(outcome.outputs, lengths)[:count], y[:count])
        loss, stopping = outcome.loss, 0.0
        if together:
            total, hits, stopping = self.here.sum([loss * count, hits, stop.made])
            loss, hits, count = total / batch.total, round(hits), batch.total
        if not math.isfinite(loss):
            raise RuntimeError(
                f"the loss must stay finite, got {loss} in batch {self.batch + 1} of "
                f"epoch {self.epoch + 1}; "
                "lower the learning rate, e.g. "
                f"lr={self.optimizer.param_groups[0]['initial_lr'] / 10:g}"
            )
        self.loss = loss
        self.tally.add(loss, hits, count)
        self.batch += 1
        self.progress.batch(self.tally.loss, outcome.spikes)
        for callback in self.callbacks:
            callback.on_step(self)
        # several processes hear of it in the message of a batch
        return stopping > 0 if together else stop.made

    def _stop_everywhere(self) -> None:
        """All processes stop if a callback of one of them does."""
        if self.here.size > 1:
            reasons = [reason for reason in gathered(self.stopped) if reason]
            self.stopped = reasons[0] if reasons else ""

    def _stop_if(self, stop: StopRequest) -> None:
        if self.here.sum([stop.made])[0]:
            self._stop()

    def _stop(self) -> NoReturn:
        where = f"stopped after {self.epoch} of {self.job.epochs} epochs"
        where += f" and {self.batch} of {len(self.job.samples.train)} batches" if self.batch else ""
        if self.path is None:
            raise Interrupted(
                f"{where}; nothing is saved, because there is no output folder (out=...)"
            )
        if self._resumed is None:  # otherwise nothing happened since the checkpoint was read
            self.save()
        raise Interrupted(f"{where}; {self.path} holds all that is needed to go on (resume=True)")

    # -- checkpoints -------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, if there is a path."""
        if self.folder is None or self.path is None:
            return
        wall, cpu = self.seconds
        others = gathered({"epoch": self._begin, "now": self._random_state()})
        state = {
            "settings": self.settings,
            "threads": self.threads,
            "epoch": self.epoch,
            "batch": self.batch,
            "tally": self.tally.state(),
            "history": self.history,
            "spikes": self.spikes,
            "stopped": self.stopped,
            "seconds": {"wall": wall, "cpu": cpu},
            "random": others[0],
            "random_of_others": others[1:],
            "model": self.job.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.job.optimizer.schedule.state_dict(),
            "scaler": self.job.optimizer.scaler and self.job.optimizer.scaler.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.callbacks],
            "chaos": self.job.chaos and self.job.chaos.state_dict(),
        }
        folder, path = self.folder, self.path
        everywhere(lambda: folder.save(path, state))

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: its settings differ; the message names the first difference. Or it holds
                what cannot be.
        """
        settings = dict(state["settings"])
        if self.epochs > state["epoch"]:  # more epochs, or fewer, than were planned
            settings["epochs"] = self.settings["epochs"]
        check_same(self.path, settings, self.settings, ARGUMENTS)
        restoring.fits(str(self.path), state, self.job)
        self.job.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.job.optimizer.schedule.load_state_dict(state["schedule"])
        if self.job.optimizer.scaler is not None:
            self.job.optimizer.scaler.load_state_dict(state["scaler"])
        for callback, saved in zip(self.callbacks, state["callbacks"], strict=False):
            callback.load_state_dict(saved)
        if self.job.chaos is not None:
            self.job.chaos.load_state_dict(state["chaos"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.tally, self.history, self.spikes = (
            Tally(**state["tally"]),
            state["history"],
            state["spikes"],
        )
        if self.epochs <= state["settings"]["epochs"]:
            self.stopped = state["stopped"]
        self.wall, self.cpu = state["seconds"]["wall"], state["seconds"]["cpu"]
        every = [state["random"], *state["random_of_others"]]
        if self.here.rank < len(every):
            self._resumed = every[self.here.rank]
        else:  # a process that did not exist; the order of the samples is the same in all
            own = torch.Generator().manual_seed(self.seed + self.here.rank).get_state()
            self._resumed = {name: {**every[0][name], "cpu": own} for name in ("epoch", "now")}

    def _random_state(self) -> dict[str, torch.Tensor]:
        order = self.job.samples.train.generator
        return checkpoint.random_state(self.job.device, order, generators_of(self.job.net))

    def _restore(self, state: dict[str, torch.Tensor]) -> None:
        order, own = self.job.samples.train.generator, generators_of(self.job.net)
        checkpoint.restore_random_state(state, self.job.device, order, own)
