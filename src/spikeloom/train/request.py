"""The arguments of a training, checked, and the job that they make."""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..chaos import A, attach
from ..chaos.csbp import settings as csbp
from ..core import checks
from ..core.autocast import autocast
from ..core.numbers import callable_, device_of, path_of, real
from ..functional.loss import mse_count_loss
from ..functional.loss_base import LossFunctions
from ..learning.registry import rule_of
from .callbacks import callbacks_of
from .encoding import TIMED, encoder
from .job import Job
from .model import fork_random_state, has_own_loop, spiking_layers
from .models import is_spiking
from .processes import Share
from .readout import Readout, readout
from .rules import Rule
from .samples import Samples, samples
from .settings import Settings, describe_network, describe_optimizer, name_of, whole
from .update import SCHEDULES, Schedule, Update, scaler

__all__ = ["PRECISIONS", "Request", "metrics_of"]

PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `fit` that determine the result."""

    net: Any
    data: Any
    num_steps: int | None
    epochs: int
    batch_size: int
    loss: Any
    lr: float | None
    schedule: Any
    optimizer: Any
    encode: Any
    rule: str | Rule
    seed: int
    seeds: int
    threads: int | None
    chaos: Any = None
    readout: Any = None
    validation: Any = None
    metrics: Any = None
    penalty: Any = None
    class_weights: Any = None
    clip: float | None = None
    accumulate: int = 1
    precision: str | None = None
    batch_norm: str = "step"
    device: Any = None
    workers: int = 0
    callbacks: Any = ()

    def check(self, out: Any, resume: bool, force: bool) -> None:
        """Check what can be checked without network and data.

        Raises:
            ValueError, TypeError, RuntimeError: as `fit`.
        """
        if not torch.is_grad_enabled():
            raise RuntimeError(
                "fit computes gradients, got torch.no_grad() or torch.inference_mode() around it; "
                "call it outside"
            )
        checks.flags("fit", resume=resume, force=force)
        whole("epochs", self.epochs)
        whole("batch_size", self.batch_size)
        whole("seed", self.seed, 0)
        whole("seeds", self.seeds)
        learning = self.learning
        if self.chaos is not None:
            self._check_chaos(learning)
        learning.loss(self.loss)
        self._check_options(learning)
        if self.lr is not None:
            real("lr", self.lr, 0.0, 1e3, open_low=True, example=1e-3)
            if self.optimizer is not None:
                raise ValueError(
                    f"lr={self.lr} is for the default optimizer, got optimizer too; give it the "
                    "rate there"
                )
        if self.seeds > 1 and (
            isinstance(self.net, nn.Module) or isinstance(self.optimizer, torch.optim.Optimizer)
        ):
            raise ValueError(
                f"seeds={self.seeds} trains several networks, got one network or one optimizer; "
                "write functions: "
                "net=lambda: nn.Sequential(...), optimizer=lambda parameters: "
                "torch.optim.SGD(parameters, lr=0.1)"
            )
        if resume and force:
            raise ValueError(
                "resume=True goes on with a run and force=True replaces it, got both; leave one out"
            )
        if out is not None:
            path_of("out", out)
        if (resume or force) and out is None:
            raise ValueError(
                f"{'resume' if resume else 'force'}=True is about a folder, got none; write out=..."
            )

    @property
    def learning(self) -> Rule:
        """The rule as a value."""
        return rule_of(self.rule, Rule)

    def _check_chaos(self, learning: Rule) -> None:
        if not learning.chaotic:
            raise ValueError(
                "chaos adds to a loss whose gradient goes back through time, got "
                f'rule="{learning.name}"; '
                'write rule="bptt", or leave chaos out'
            )
        if isinstance(csbp(self.chaos).strength, A) and self.optimizer is None:
            raise ValueError(
                f"chaos={self.chaos!r} is a dimensionless strength, defined for SGD, got no "
                "optimizer; write "
                "optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1), or chaos.Z(...)"
            )

    def _check_options(self, learning: Rule) -> None:
        """Check what is independent of the other arguments, or of all but the rule."""
        if isinstance(self.schedule, (LRScheduler, ReduceLROnPlateau)):
            raise TypeError(
                f"schedule must make a scheduler, got a finished {type(self.schedule).__name__}; "
                "write schedule=lambda optimizer: torch.optim.lr_scheduler."
                f"{type(self.schedule).__name__}(optimizer, ...)"
            )
        if self.schedule is not None and not callable(self.schedule):
            checks.choice("schedule", self.schedule, SCHEDULES)
        if self.clip is not None:
            real("clip", self.clip, 0.0, open_low=True)
        whole("accumulate", self.accumulate)
        whole("workers", self.workers, 0)
        if self.precision is not None:
            checks.choice("precision", self.precision, PRECISIONS)
        checks.choice("batch_norm", self.batch_norm, ("step", "time"))
        if self.batch_norm == "time" and has_own_loop(self.net):
            raise ValueError(
                'batch_norm="time" is for networks of one time step, which snn.run runs, got one '
                "with a loop of its own; write nn.BatchNorm there over all steps, or leave "
                "batch_norm out"
            )
        if self.device is not None:
            device_of("device", self.device)
        metrics_of(self.metrics)
        callbacks_of(self.callbacks)
        features = {
            "penalty": self.penalty is not None,
            "accumulate": self.accumulate > 1,
            "precision": PRECISIONS[self.precision or "fp32"] is not None,
            'batch_norm="time"': self.batch_norm == "time",
            "a network with a loop of its own": has_own_loop(self.net),
        }
        wrong = [name for name, used in features.items() if used]
        if wrong and not learning.whole:
            raise ValueError(
                f"{wrong[0]} needs a rule that runs the whole sequence and then goes back through "
                f'it, got rule="{learning.name}"; write rule="bptt", or leave it out'
            )

    def network(self, seed: int) -> Any:
        """The network of a seed, on its device."""
        net = self.net
        if not isinstance(net, nn.Module) and callable(net):
            _refuse_arguments(net)
            with fork_random_state(torch.device("cpu")):
                torch.manual_seed(seed)
                net = net()
        if self.device is not None and isinstance(net, nn.Module):
            net.to(self.device)  # `spiking_layers` refuses what is no module
        return net

    def job(self, seed: int, here: Share) -> Job:
        """All that the training of one seed needs."""
        net = self.network(seed)
        layers, last = spiking_layers(net)
        encoding = encoder(self.encode, self.num_steps, own_loop=has_own_loop(net))
        data = samples(
            self.data,
            self.batch_size,
            seed,
            validation=self.validation,
            time_first=encoding.name == "time_first",
            workers=self.workers,
            here=here,
            timed=encoding.name in TIMED,
        )
        optimizer = self._optimizer(net)
        schedule = self.schedule or ("cosine" if self.optimizer is None else "constant")
        loss = self._loss(data)
        return Job(
            net=net,
            encoder=encoding,
            readout=self._readout(loss, data, is_spiking(net.get_submodule(last))),
            seed=seed,
            layers=layers,
            last=last,
            metrics=metrics_of(self.metrics),
            precision=PRECISIONS[self.precision or "fp32"],
            batch_norm=self.batch_norm,
            optimizer=Update(
                optimizer,
                Schedule(optimizer, schedule),
                clip=self.clip,
                accumulate=self.accumulate,
                here=here,
                scaler=scaler(self.precision, next(net.parameters()).device),
            ),
            samples=data,
            epochs=self.epochs,
            given_loss=loss,
            penalty=_penalties(self.penalty, layers, last),
            chaos=None if self.chaos is None else attach(net, self.chaos, optimizer=optimizer),
        )

    def _loss(self, data: Samples) -> Any:
        """The loss with its class weights; None: the default."""
        loss = self.learning.loss(self.loss)
        if self.class_weights is None:
            return loss
        loss = mse_count_loss(0.9, 0.1) if loss is None else loss
        if not isinstance(loss, LossFunctions):
            raise TypeError(
                "class_weights are for the losses of snn.functional, got "
                f"{name_of(loss)}; give the weights to the loss itself, e.g. "
                "nn.CrossEntropyLoss(weight=...)"
            )
        loss = copy.copy(loss)
        loss.weight = _weights(self.class_weights, data)
        return loss

    def _readout(self, loss: Any, data: Samples, spiking: bool) -> Readout:
        if not data.classifies and (loss is None or isinstance(loss, LossFunctions)):
            raise TypeError(
                f"labels of the training part must be whole numbers, got {data.labels.dtype} of "
                f"shape {tuple(data.labels.shape)}, and "
                f"{'the default loss' if loss is None else loss.__name__} takes classes; "
                f"write {_hint(data.labels)}"
            )
        return readout(loss, self.readout, classifies=data.classifies, spiking=spiking)

    def _optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        learned = [p for p in net.parameters() if p.requires_grad]
        if self.optimizer is None:
            return self.learning.optimizer(learned, self.lr)
        made = self.optimizer
        if not isinstance(made, torch.optim.Optimizer):
            made = made(learned) if callable(made) else made
        if not isinstance(made, torch.optim.Optimizer):
            raise TypeError(
                "optimizer must be a torch.optim.Optimizer or a function from parameters to one, "
                f"got {made!r}; "
                "write optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1)"
            )
        closure = inspect.signature(made.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise TypeError(
                "optimizer must take one step for each batch, got "
                f"{type(made).__name__}, which evaluates the loss several times; write "
                "torch.optim.Adam, or a loop of your own"
            )
        held = {id(p) for group in made.param_groups for p in group["params"]}
        if not held & {id(p) for p in learned}:
            raise ValueError(
                "optimizer must hold parameters of net, got one that holds none of them; build it "
                "from net.parameters()"
            )
        return made

    def settings(self, job: Job) -> Settings:
        """What determines the result, as plain values, without options that are not used."""
        update = job.optimizer
        options = {
            "readout": None if self.readout is None else name_of(self.readout),
            "validation": self.validation if isinstance(self.validation, float) else None,
            "penalty": None if self.penalty is None else name_of(self.penalty),
            "clip": self.clip,
            "accumulate": self.accumulate if self.accumulate > 1 else None,
            "precision": self.precision,
            "batch_norm": self.batch_norm if self.batch_norm != "step" else None,
        }
        return {
            "rule": str(self.learning),
            "num_steps": self.num_steps,
            "encode": job.encoder.name,
            "epochs": self.epochs,
            "batch_size": self.batch_size if "train_samples" in job.samples.description else None,
            "loss": job.readout.name,
            "optimizer": describe_optimizer(update.optimizer),
            "chaos": None if self.chaos is None else name_of(csbp(self.chaos)),
            "autocast": autocast(job.device.type),
            "schedule": update.schedule.name,
            **{name: value for name, value in options.items() if value is not None},
            "seed": job.seed,
            "network": describe_network(job.net),
            "data": job.samples.description,
        }


def metrics_of(given: Any) -> dict[str, Callable[[Tensor, Tensor], Any]]:
    """The argument ``metrics`` of `fit` as functions by name.

    Raises:
        TypeError: no mapping of names to functions.

    >>> metrics_of(None)
    {}
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"metrics must be functions by name, got {type(given).__name__}; write "
            'metrics={"top3": snn.train.top_k(3)}'
        )
    for name, function in given.items():
        if not isinstance(name, str) or name in ("loss", "accuracy"):
            raise ValueError(
                f"a metric needs a name that is not taken, got {name!r}; write another one"
            )
        callable_(f"metrics[{name!r}]", function, "lambda scores, targets: ...")
    return dict(given)


def _penalties(given: Any, layers: tuple[str, ...], last: str) -> dict[str, Any]:
    """The argument ``penalty`` as functions by layer: one function is for all hidden layers."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        callable_("penalty", given, "snn.functional.rate_band(0.02, 0.2)")
        hidden = [path for path in layers if path != last]
        if not hidden:
            raise ValueError(
                "penalty is for hidden spiking layers, got a network without any; name the layer: "
                f"penalty={{{layers[0] if layers else '0'!r}: ...}}"
            )
        return dict.fromkeys(hidden, given)
    for path, function in given.items():
        checks.choice("a layer in penalty", path, layers)
        callable_(f"penalty[{path!r}]", function, "snn.functional.rate_band(0.02, 0.2)")
    return dict(given)


def _refuse_arguments(maker: Any) -> None:
    """Raises ``TypeError`` if ``maker()`` would lack an argument."""
    try:
        inspect.signature(maker).bind()
    except TypeError as error:
        raise TypeError(
            "net must be a network, or a function without arguments that makes one, got "
            f"{name_of(maker)} ({error}); write fit({name_of(maker)}(...), ...)"
        ) from error
    except ValueError:  # a builtin has no signature
        return


def _weights(given: Any, data: Samples) -> Tensor:
    """One factor for each class; "balanced": samples / (classes * samples of the class)."""
    if not isinstance(given, str):
        given = torch.tensor(given) if isinstance(given, (list, tuple)) else given
        return torch.as_tensor(LossFunctions("mean", given).weight)
    checks.choice("class_weights", given, ["balanced"])
    if data.counts is None:
        raise ValueError(
            'class_weights="balanced" counts the labels of tensors, got loaders; write one number '
            "a class"
        )
    counts = data.counts.clamp(min=1)
    return counts.sum() / (len(counts) * counts)


def _hint(labels: Tensor) -> str:
    """What to write where float targets meet a loss of classes."""
    if labels.dim() == 2 and bool(((labels == 0) | (labels == 1)).all()):
        if bool((labels.sum(1) == 1).all()):
            return (
                "y.argmax(1) for one-hot labels, or loss=nn.BCEWithLogitsLoss() for several labels "
                "a sample"
            )
        return "loss=nn.BCEWithLogitsLoss() for several labels a sample"
    return "y.long() if they are classes, or loss=nn.MSELoss() for regression"
