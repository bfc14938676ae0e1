"""``fit``: train a spiking network on labelled samples, and say how well it does."""

from collections.abc import Callable
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.autocast import fresh_casts
from . import restoring
from . import threads as thread_choice
from .card import card, write_card
from .folder import RunFolder
from .job import Job, Probe, fork_random_state, probe
from .loop import Trainer
from .pictures import draw_curves, draw_raster, pictures_missing
from .progress import Progress, progress_for
from .request import Request
from .result import Accuracy, Result
from .rules import Rule
from .settings import Settings

__all__ = ["fit"]


def fit(
    net: nn.Module | Callable[[], nn.Module],
    data: Any,
    *,
    num_steps: int | None = None,
    epochs: int = 20,
    batch_size: int = 64,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    lr: float | None = None,
    schedule: str | None = None,
    optimizer: Any = None,
    encode: str | Callable[[Tensor, int], Tensor] | None = None,
    rule: str | Rule = "bptt",
    chaos: Any = None,
    seed: int = 0,
    seeds: int = 1,
    threads: int | None = None,
    out: "str | PathLike[str] | None" = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Result:
    """Train a spiking network to classify.

    The network computes one time step; `spikeloom.run` runs it over time. Everything is checked
    before work begins. With the same arguments, versions, machine and threads the result is the
    same bit for bit, also after an interruption: the first Ctrl-C (or SIGTERM) stops after the
    batch and, with ``out``, keeps all that is needed to go on. Under ``torch.autocast`` weights are
    cast anew at every use: autocast would keep the casts of old weights. torch's global generators
    are left as they were; random numbers of other origin are not taken care of. The network stays
    on its device, and batches are moved there.

    Args:
        net: the network of one step, trained in place; or a function without arguments that builds
            it, called after ``torch.manual_seed(seed)``. Its output is spikes [B, classes], or a
            tuple that begins with them.
        data: a `data.Split`; tensors ``(x_train, y_train, x_test, y_test)`` with samples [N, ...]
            and classes [N]; or loaders ``(train_loader, test_loader)`` that yield such ``(x, y)``.
        num_steps: T, the time steps for which each sample is shown.
        epochs: passes over the training samples.
        batch_size: samples a batch; loaders have their own.
        loss: function of outputs [T, B, N] and classes [B]. Default: ``mse_count_loss(0.9, 0.1)``,
            or what the rule says. A loss of membranes receives the membrane of the last neuron.
        lr: learning rate at the beginning, of Adam or of what the rule prefers. Default: 0.002, or
            what the rule says.
        schedule: ``"cosine"`` lowers the learning rate to 0 along half a cosine, ``"constant"``
            keeps it. Default: cosine, or constant if ``optimizer`` is given.
        optimizer: another one than the rule's, or a function from parameters to one.
        encode: ``"direct"`` (default): the sample is a current, the same at every step; ``"rate"``:
            its values are the probabilities of spikes; ``"sequence"``: samples are [T, ...]
            themselves; or a function ``(samples [B, ...], num_steps) -> [T, B, ...]``.
        rule: how the network learns: a name in ``train.rules.RULES``, such as ``"bptt"``
            (backpropagation through time with surrogate gradients), or a rule with numbers of its
            own, such as ``train.TBPTT(K=8)``. A rule that does not apply to the network says why
            before any work.
        chaos: adds the chaotic loss: `chaos.CSBP` settings, or a strength such as ``chaos.A(3.8)``.
            A dimensionless strength needs SGD as ``optimizer``; it is measured on the first batch.
        seed: of data order, random layers and encoding, and of the weights if ``net`` is a
            function.
        seeds: how many trainings, with ``seed``, ``seed + 1`` ...; more than one needs a function
            as ``net``.
        threads: for torch while training. Default: one for small networks, see ``train.threads``.
        out: folder for checkpoint, run card ``run.json`` and pictures. Default: nothing is written.
        resume: go on with the run in ``out``; its settings must be the same.
        force: replace the run in ``out``; its files stay until the first checkpoint of the new one
            is complete.
        progress: show the progress on standard error: a bar on a terminal, else a line for each
            epoch.

    Returns:
        A `Result`; printing it tells the essentials.

    Raises:
        ValueError, TypeError: an argument, or a combination of them, makes no sense; the message
            begins with the path of the layer where one is to blame.
        FileExistsError: ``out`` holds a run, and neither ``resume`` nor ``force`` is given; or
            another process writes there.
        OSError: ``out`` cannot be written; the message names the path and the remedy.
        Interrupted: Ctrl-C or SIGTERM (a KeyboardInterrupt).
        RuntimeError: the loss is not finite any more, or this is one of several processes, as under
            torchrun.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True, output=True))
    >>> result = fit(net, snn.data.iris(), num_steps=10, epochs=2, progress=False)
    >>> result.threads, len(result.history)
    (1, 2)
    """
    request = Request(
        *(net, data, num_steps, epochs, batch_size, loss, lr, schedule, optimizer, encode),
        *(rule, seed, seeds, threads, chaos),
    )
    request.check(out, resume, force)
    folder = None if out is None else RunFolder(out, seed)
    with nullcontext() if folder is None else folder.reserved(resume, force), fresh_casts():
        return Session(request, folder, resume, progress_for(progress)).run()


class Session:
    """Trains the seeds of a request one after the other, and writes what is known at the end.

    Args:
        request: what to train.
        folder: where to write, or None.
        resume: go on from the checkpoints that are there.
        progress: shown meanwhile.
    """

    def __init__(
        self, request: Request, folder: RunFolder | None, resume: bool, progress: Progress
    ) -> None:
        self.request, self.folder, self.resume, self.progress = request, folder, resume, progress

    def run(self) -> Result:
        """Train, write, and return the result."""
        request = self.request
        seeds = range(request.seed, request.seed + request.seeds)
        first = Training(self, request.seed)
        finished = [first.run()]
        for number, seed in enumerate(seeds[1:], 2):
            self.progress.say(f"seed {seed} ({number} of {len(seeds)})")
            finished.append(Training(self, seed).run())
        rows = finished[0].history
        accuracy = Accuracy(rows[-1]["test_accuracy"], max(row["test_accuracy"] for row in rows))
        result = Result(
            first.job.net,
            tuple(rows),
            accuracy,
            finished[0].spikes,
            tuple(seeds),
            tuple(trainer.history[-1]["test_accuracy"] for trainer in finished),
            sum(trainer.wall for trainer in finished),
            sum(trainer.cpu for trainer in finished),
            first.threads.number,
            {} if self.folder is None else self._draw(self.folder, first, rows),
        )
        if self.folder is not None:
            missing = {} if "raster" in result.paths else {"pictures": pictures_missing() or ""}
            content = card(result, first.job, first.probe, first.settings, first.threads, missing)
            write_card(self.folder.card, content)
        return result

    def _draw(
        self, folder: RunFolder, first: "Training", rows: list[dict[str, float]]
    ) -> dict[str, Path]:
        """Draw the pictures, if that is possible, and name all files of the run."""
        paths = {"card": folder.card, "checkpoint": folder.checkpoint(first.job.seed)}
        missing = pictures_missing()
        if missing:
            self.progress.say(f"no pictures: {missing}")
            return paths
        draw_raster(first.job, folder.raster)
        name = first.job.samples.description["name"]
        draw_curves(
            rows,
            folder.curves,
            f"{name}: {100 * rows[-1]['test_accuracy']:.2f} % after the last epoch",
        )
        return {**paths, "raster": folder.raster, "curves": folder.curves}


class Training:
    """The training of one seed: its job, checked by a probe, and the threads that it gets."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        request, folder = session.request, session.folder
        with fork_random_state(
            torch.device("cpu")
        ):  # loaders draw a random number when they are asked for a batch
            self.job: Job = request.job(seed)
        self.settings: Settings = request.settings(self.job)
        self.probe: Probe = probe(self.job)
        request.learning.check(self.job, self.probe)
        self.state = folder.state(seed) if folder is not None and session.resume else None
        if folder is not None and self.state is not None:
            restoring.check(str(folder.checkpoint(seed)), self.state)
        self.threads = thread_choice.choose(
            request.threads, self.probe.multiply_adds * self.job.samples.batch_size
        )
        if (
            request.threads is None
            and self.state is not None
            and self.threads.number != self.state["threads"]
        ):
            # another number could round otherwise
            self.threads = thread_choice.Threads(
                self.state["threads"], "as before the interruption"
            )

    def run(self) -> Trainer:
        """Train, or go on, to the last epoch."""
        progress, number = self.session.progress, self.threads.number
        if self.job.seed == self.session.request.seed:
            progress.say(summary(self.job, self.probe))
            progress.say(f"{number} thread{'s' if number > 1 else ''} ({self.threads.why})")
        session = self.session
        trainer = Trainer(
            self.job, self.settings, session.request.learning, number, session.folder, progress
        )
        if self.state is not None:
            trainer.restore(self.state)
            progress.say(
                f"going on after epoch {trainer.epoch} and {trainer.batch} batches of the next one"
            )
        with thread_choice.using(number):
            trainer.train()
        return trainer


def summary(job: Job, found: Probe) -> str:
    """Data and network in a line."""
    data = job.samples.description
    unit = "samples" if "train_samples" in data else "batches"
    learned = sum(p.numel() for p in job.net.parameters() if p.requires_grad)
    return (
        f"{data['name']}: {data[f'train_{unit}']} training and {data[f'test_{unit}']} test {unit}; "
        f"{sum(found.layers.values()):,} spiking neurons, {learned:,} parameters, "
        f"{found.num_steps} time steps"
    )
