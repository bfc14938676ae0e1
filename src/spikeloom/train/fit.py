"""``fit``: train a spiking network on labelled samples, and say how well it does."""

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.autocast import fresh_casts
from ..core.checks import flags, suggesting
from ..doctor import Finding
from ..saving import save
from . import diagnosis, restoring
from . import threads as thread_choice
from .callbacks import Callback, callbacks_of
from .card import card, write_card
from .folder import RunFolder
from .job import Job, Probe, check_lengths, probe
from .loop import Trainer
from .model import fork_random_state
from .pictures import draw_curves, draw_raster, pictures_missing
from .processes import Share, check_alone, everywhere, together
from .progress import Progress, judged, progress_for
from .request import Request
from .result import Accuracy, Result
from .rules import Rule
from .settings import Settings
from .time_control import check_timed, controlled

__all__ = ["fit"]


@suggesting
def fit(
    net: nn.Module | Callable[[], nn.Module],
    data: Any,
    *,
    num_steps: int | None = None,
    epochs: int = 20,
    batch_size: int = 64,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    readout: str | Callable[[Tensor], Tensor] | None = None,
    lr: float | None = None,
    schedule: str | Callable[..., Any] | None = None,
    optimizer: Any = None,
    encode: str | Callable[[Tensor, int], Tensor] | None = None,
    rule: str | Rule = "bptt",
    chaos: Any = None,
    validation: Any = None,
    callbacks: Any = (),
    metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] | None = None,
    penalty: Any = None,
    class_weights: Any = None,
    clip: float | None = None,
    accumulate: int = 1,
    precision: str | None = None,
    batch_norm: str = "step",
    seed: int = 0,
    seeds: int = 1,
    threads: int | None = None,
    workers: int = 0,
    device: Any = None,
    out: "str | PathLike[str] | None" = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    check: bool = True,
    time_control: bool = False,
) -> Result:
    """Train a spiking network on samples with classes or values.

    The network computes one time step, and `spikeloom.run` runs it over time; or it has its own
    loop over time and is wrapped by `spikeloom.layerwise`. Everything is checked before work
    begins. With the same arguments, versions, machine and threads the result is the same bit for
    bit, also after an interruption: the first Ctrl-C (or SIGTERM) stops after the batch and, with
    ``out``, keeps all that is needed to go on. Under ``torch.autocast`` weights are cast anew at
    every use: autocast would keep the casts of old weights. torch's global generators are left as
    they were; random numbers of other origin are not taken care of. The network stays on its
    device, and batches are moved there.

    Under torchrun, or in an open process group, all processes are one training: each computes its
    share of every batch (``batch_size`` counts the whole batch), gradients are means over all
    samples (by torch's DistributedDataParallel where the rule goes back through the whole
    sequence), batch norm takes the statistics of all samples, and the first process writes. Losses
    and penalties must then be means over samples.

    Args:
        net: the network of one step or of `spikeloom.layerwise`, trained in place; or a function
            without arguments that builds it, called after ``torch.manual_seed(seed)``. Its output
            is spikes [B, classes], or a tuple that begins with them; of a network with its own
            loop spikes [T, B, classes], or a tuple of those and of membranes.
        data: a `data.Split`; tensors ``(x_train, y_train, x_test, y_test)`` with samples [N, ...]
            and classes [N] or values [N, ...]; or data sets or loaders that yield ``(x, y)``:
            ``(train, test)``, ``(train, validation, test)``, or one to train without a test. With
            ``encode="sequence"`` recordings may be of unequal length: lists of [T_i, ...] in the
            place of tensors, data sets of such samples, or loaders that yield ``(x, y, lengths)``.
            They are padded, and nothing that follows the end of a recording counts.
        num_steps: T, the time steps for which each sample is shown.
        epochs: passes over the training samples.
        batch_size: samples a batch; loaders have their own.
        loss: function of outputs [T, B, N] and targets [B, ...], or a loss of torch, such as
            ``nn.CrossEntropyLoss()`` or ``nn.MSELoss()``, which receives one number for each
            output, see ``readout``. Default: ``mse_count_loss(0.9, 0.1)``, or what the rule says. A
            loss of membranes receives the membrane of the last neuron.
        readout: what a loss of torch, and the prediction, reads of the outputs: ``"count"`` of
            spikes, ``"rate"``, ``"max_membrane"``, ``"mean_membrane"``, ``"last_membrane"``,
            ``"sequence"`` (the membrane at every step, [B, T, N]); or a function from outputs [T,
            B, N] to [B, ...]. Default: spike counts for classes and rates for values; of a last
            neuron that does not fire, the highest and the last membrane.
        lr: learning rate at the beginning, of Adam or of what the rule prefers. Default: 0.002, or
            what the rule says.
        schedule: ``"cosine"`` lowers the learning rate to 0 along half a cosine, ``"constant"``
            keeps it; or a function from the optimizer to a scheduler of torch. That one steps after
            each epoch (``ReduceLROnPlateau`` by the validation loss, else the training loss);
            ``OneCycleLR`` and ``CyclicLR`` after each update. Default: cosine, or constant if
            ``optimizer`` is given.
        optimizer: another one than the rule's, or a function from parameters to one.
        encode: ``"direct"`` (default): the sample is a current, the same at every step; ``"rate"``:
            its values are the probabilities of spikes; ``"sequence"``: samples are [T, ...]
            themselves; ``"time_first"``: batches of loaders are [T, B, ...]; or a function
            ``(samples [B, ...], num_steps) -> [T, B, ...]``.
        rule: how the network learns: a name in ``train.rules.RULES``, such as ``"bptt"``
            (backpropagation through time with surrogate gradients), or a rule with numbers of its
            own, such as ``train.TBPTT(K=8)``. A rule that does not apply to the network says why
            before any work.
        chaos: adds the chaotic loss: `chaos.CSBP` settings, or a strength such as ``chaos.A(3.8)``.
            A dimensionless strength needs SGD as ``optimizer``; it is measured on the first batch.
        validation: a part of the training samples in (0, 1), such as 0.1, or data ``(x, y)``, a
            data set or a loader. It is looked at after each epoch, and the test samples only once,
            at the end. Default: the test samples are looked at after each epoch.
        callbacks: `train.Callback` objects such as ``train.EarlyStopping()``, or functions, which
            are called with the `train.TrainingRun` after each epoch. With several seeds each has
            copies.
        metrics: further figures by name: functions of scores [N, ...] (one number for each class or
            value) and targets [N, ...], such as ``train.top_k(3)``.
        penalty: function of the spikes [T, B, ...] of a layer, added to the loss for each hidden
            layer, such as ``functional.rate_band(0.02, 0.2)``; or functions by path of the layer.
        class_weights: one factor for each class in the losses of `functional`, or ``"balanced"``.
        clip: largest norm of all gradients together.
        accumulate: batches for one change of the weights.
        precision: ``"bf16"`` runs the network under autocast in bfloat16, ``"fp16"`` in float16
            with torch's GradScaler (updates with gradients out of range are left out); ``"fp32"``
            (default) leaves it as it is.
        batch_norm: ``"time"`` takes the statistics of batch norm from all steps together while
            training, as in the papers on tdBN and TEBN; ``"step"`` (default) from each step. See
            `spikeloom.run`.
        seed: of data order, random layers and encoding, and of the weights if ``net`` is a
            function.
        seeds: how many trainings, with ``seed``, ``seed + 1`` ...; more than one needs a function
            as ``net``.
        threads: for torch while training. Default: one for small networks, see ``train.threads``.
        workers: processes that load the samples of a data set.
        device: where to move the network, such as ``"cuda"``. Under torchrun ``"cuda"`` is the GPU
            of the process.
        out: folder for checkpoint, run card ``run.json``, the trained network ``net.safetensors``
            (see `spikeloom.load`) and pictures. Default: nothing is written.
        resume: go on with the run in ``out``; its settings must be the same. ``epochs`` may be
            another number, which trains for longer or shorter.
        force: replace the run in ``out``; its files stay until the first checkpoint of the new one
            is complete.
        progress: show the progress on standard error: a bar on a terminal, else a line for each
            epoch.
        check: keep a copy of the network, so that `doctor.check` can say in two lines at the end
            why nothing was learned, if accuracy is at chance or the loss is flat.
        time_control: compare the accuracy with controls that do not know the order of the steps,
            for samples that carry time; see `train.time_control`.

    Returns:
        A `Result`; printing it shows the essentials.

    Raises:
        ValueError, TypeError: an argument, or a combination of them, makes no sense; the message
            begins with the path of the layer where one is to blame.
        FileExistsError: ``out`` holds a run, and neither ``resume`` nor ``force`` is given; or
            another process writes there.
        OSError: ``out`` cannot be written; the message names the path and the remedy.
        Interrupted: Ctrl-C or SIGTERM (a KeyboardInterrupt).
        RuntimeError: the loss is not finite any more, or the first of several processes failed.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True, output=True))
    >>> result = fit(net, snn.data.iris(), num_steps=10, epochs=2, progress=False)
    >>> result.threads, len(result.history)
    (1, 2)
    """
    given = dict(locals())
    files = {name: given.pop(name) for name in ("out", "resume", "force")}
    shown, check, control = (given.pop(name) for name in ("progress", "check", "time_control"))
    flags("fit", check=check, time_control=control)
    request = Request(**given)
    request.check(**files)
    with ExitStack() as stack:
        here = together(request.device)
        folder = None if out is None else RunFolder(out, seed)
        if folder is not None:
            reserved = folder.reserved(resume, force)
            everywhere(lambda: stack.enter_context(reserved) and None)
        stack.enter_context(fresh_casts())
        progress_ = progress_for(shown and here.main)
        return Session(request, folder, resume, progress_, here, check, control).run()


class Session:
    """Trains the seeds of a request one after the other, and writes what is known at the end.

    Args:
        request: what to train.
        folder: where to write, or None.
        resume: go on from the checkpoints that are there.
        progress: shown meanwhile.
        here: this process; the first one writes.
        check: say why nothing was learned.
        control: compare with controls that do not know time.
    """

    def __init__(
        self,
        request: Request,
        folder: RunFolder | None,
        resume: bool,
        progress: Progress,
        here: Share,
        check: bool,
        control: bool,
    ) -> None:
        self.request, self.folder, self.resume, self.progress = request, folder, resume, progress
        self.here, self.check, self.control = here, check, control

    def run(self) -> Result:
        """Train, write, and return the result."""
        request = self.request
        seeds = range(request.seed, request.seed + request.seeds)
        first = Training(self, request.seed)
        finished = [first.run()]
        for number, seed in enumerate(seeds[1:], 2):
            self.progress.say(f"seed {seed} ({number} of {len(seeds)})")
            finished.append(Training(self, seed).run())
        shown = finished[0]
        scored, _ = quoted(shown)
        result = Result(
            net=first.job.net,
            history=tuple(shown.history),
            test_accuracy=accuracy(shown),
            spikes_per_neuron=shown.spikes,
            seeds=tuple(seeds),
            each=tuple(quoted(trainer)[1] for trainer in finished),
            seconds=sum(trainer.wall for trainer in finished),
            cpu_seconds=sum(trainer.cpu for trainer in finished),
            threads=first.threads.number,
            paths=everywhere(lambda: self._files(first, shown)),
            test={} if shown.test is None else shown.test.figures,
            scored=scored,
            stopped=shown.stopped,
            findings=first.findings(shown),
            time_control=controlled(first.job.model, first.job.samples) if self.control else None,
            _model=first.job.model,
        )
        everywhere(lambda: self._card(first, result))
        for line in diagnosis.lines(result.findings):
            self.progress.say(line)
        return result

    def _card(self, first: "Training", result: Result) -> None:
        if self.folder is None:
            return
        missing = {} if "curves" in result.paths else {"pictures": pictures_missing() or ""}
        content = card(result, first.job, first.probe, first.settings, first.threads, missing)
        write_card(self.folder.card, content)

    def _files(self, first: "Training", trainer: Trainer) -> dict[str, Path]:
        """Write the network, draw the pictures if possible, and name all files of the run."""
        folder = self.folder
        if folder is None:
            return {}
        paths = {"card": folder.card, "checkpoint": folder.checkpoint(first.job.seed)}
        paths["net"] = write_net(first.job.net, folder.net)
        missing = pictures_missing()
        if missing:
            self.progress.say(f"no pictures: {missing}")
            return paths
        if first.job.readout.classifies:
            draw_raster(first.job, folder.raster)
            paths["raster"] = folder.raster
        name = first.job.samples.description["name"]
        figure, value = quoted(trainer)
        value = f"{100 * value:.2f} %" if figure.endswith("accuracy") else f"loss {value:.4g}"
        draw_curves(trainer.history, folder.curves, f"{name}: {value} after the last epoch")
        return {**paths, "curves": folder.curves}


def quoted(trainer: Trainer) -> tuple[str, float]:
    """Name and value of a training's main figure: of the test samples, if there are any."""
    rows = [] if trainer.test is None else [trainer.test.row("test")]
    row = [*rows, trainer.history[-1]][0]
    return judged(row), row[judged(row)]


def accuracy(trainer: Trainer) -> Accuracy:
    """Accuracy on the test samples; NaN where there is none."""
    if trainer.test is None or trainer.test.accuracy is None:
        return Accuracy(float("nan"), float("nan"))
    rows = [row["test_accuracy"] for row in trainer.history if "test_accuracy" in row]
    return Accuracy(trainer.test.accuracy, max([*rows, trainer.test.accuracy]))


def write_net(net: nn.Module, path: Path) -> Path:
    """Write a network, or its weights alone if its class is not known to `spikeloom.save`."""
    try:
        return save(net, path)
    except TypeError:
        return save(dict(net.state_dict()), path)


class Training:
    """The training of one seed: its job, checked by a probe, and the threads that it gets."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        self.beginning: diagnosis.Beginning | None = None
        request, folder = session.request, session.folder
        # an iteration over a loader draws a random number
        with fork_random_state(torch.device("cpu")):
            self.job: Job = request.job(seed, session.here)
        self.settings: Settings = request.settings(self.job)
        if session.control:
            check_alone("a time control")
            check_timed(self.job, self.job.samples)
        if self.job.samples.ragged:
            if request.num_steps is not None:
                raise ValueError(
                    f"num_steps={request.num_steps} is for samples of one length, got samples of "
                    "unequal length; leave num_steps out"
                )
            check_lengths(request.learning, self.job)
        self.probe: Probe = probe(self.job)
        request.learning.check(self.job, self.probe)
        self.callbacks: list[Callback] = callbacks_of(request.callbacks)
        if request.seeds > 1:
            self.callbacks = copy.deepcopy(self.callbacks)
        self.state = (
            everywhere(lambda: folder.state(seed))
            if folder is not None and session.resume
            else None
        )
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
        session = self.session
        progress, number = session.progress, self.threads.number
        if self.job.seed == session.request.seed:
            progress.say(summary(self.job, self.probe))
            progress.say(f"{number} thread{'s' if number > 1 else ''} ({self.threads.why})")
        trainer = Trainer(
            self.job,
            self.settings,
            session.request.learning,
            number,
            session.folder,
            progress,
            self.callbacks,
            session.here,
        )
        if self.state is not None:
            trainer.restore(self.state)
            progress.say(
                f"going on after epoch {trainer.epoch} and {trainer.batch} batches of the next one"
            )
        by_gradient = session.request.learning.name in diagnosis.RULES
        if session.check and self.state is None and session.here.main and by_gradient:
            self.beginning = diagnosis.Beginning(self.job)
        with thread_choice.using(number):
            trainer.train()
        return trainer

    def findings(self, trainer: Trainer) -> tuple[Finding, ...]:
        """Why nothing was learned, if that is so."""
        return () if self.beginning is None else self.beginning.findings(trainer.history)


def summary(job: Job, found: Probe) -> str:
    """Data and network in a line."""
    data = job.samples.description
    unit = "samples" if "train_samples" in data else "batches"
    parts = [("train", "training"), ("validation", "validation"), ("test", "test")]
    counted = [f"{data[f'{key}_{unit}']} {word}" for key, word in parts if f"{key}_{unit}" in data]
    learned = sum(p.numel() for p in job.net.parameters() if p.requires_grad)
    return (
        f"{data['name']}: {', '.join(counted[:-2])}{', ' if counted[:-2] else ''}"
        f"{' and '.join(counted[-2:])} {unit}; "
        f"{sum(found.layers.values()):,} spiking neurons, {learned:,} parameters, "
        f"{_steps(data, found)} time steps"
    )


def _steps(data: Settings, found: Probe) -> str:
    """T, or the range of the lengths of samples."""
    if "lengths" not in data:
        return f"{found.num_steps}"
    low, high = data["lengths"]
    return f"{low} to {high}"
