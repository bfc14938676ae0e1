"""The arguments of a training, checked, and the job that they make."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..chaos import A, attach
from ..chaos.csbp import settings as csbp
from ..core import checks
from ..core.autocast import autocast
from ..core.numbers import path_of, real
from .encoding import encoder
from .job import Job, fork_random_state, spiking_layers
from .loop import SCHEDULES
from .processes import check_alone
from .readout import readout
from .rules import Rule, rule_of
from .samples import samples
from .settings import Settings, describe_network, describe_optimizer, name_of, whole

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """The arguments of `fit` that determine the result."""

    net: Any
    data: Any
    num_steps: int | None
    epochs: int
    batch_size: int
    loss: Any
    lr: float | None
    schedule: str | None
    optimizer: Any
    encode: Any
    rule: str | Rule
    seed: int
    seeds: int
    threads: int | None
    chaos: Any = None

    def check(self, out: Any, resume: bool, force: bool) -> None:
        """Check what can be checked without network and data.

        Raises:
            ValueError, TypeError, RuntimeError: as `fit`.
        """
        check_alone("snn.fit")
        checks.flags("fit", resume=resume, force=force)
        whole("epochs", self.epochs)
        whole("batch_size", self.batch_size)
        whole("seed", self.seed, 0)
        whole("seeds", self.seeds)
        learning = self.learning
        if self.chaos is not None:
            self._check_chaos(learning)
        learning.loss(self.loss)
        if self.schedule is not None:
            checks.choice("schedule", self.schedule, SCHEDULES)
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
        return rule_of(self.rule)

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

    def network(self, seed: int) -> Any:
        """The network of a seed."""
        if isinstance(self.net, nn.Module) or not callable(self.net):
            return self.net  # `spiking_layers` refuses what is no module
        with fork_random_state(torch.device("cpu")):
            torch.manual_seed(seed)
            return self.net()

    def job(self, seed: int) -> Job:
        """All that the training of one seed needs."""
        net = self.network(seed)
        layers, last = spiking_layers(net)
        schedule = self.schedule or ("cosine" if self.optimizer is None else "constant")
        optimizer = self._optimizer(net)
        return Job(
            net,
            optimizer,
            samples(self.data, self.batch_size, seed),
            encoder(self.encode, self.num_steps),
            readout(self.learning.loss(self.loss)),
            self.epochs,
            SCHEDULES[schedule],
            seed,
            layers,
            last,
            None if self.chaos is None else attach(net, self.chaos, optimizer=optimizer),
        )

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
        held = {id(p) for group in made.param_groups for p in group["params"]}
        if not held & {id(p) for p in learned}:
            raise ValueError(
                "optimizer must hold parameters of net, got one that holds none of them; build it "
                "from net.parameters()"
            )
        return made

    def settings(self, job: Job) -> Settings:
        """What determines the result, as plain values."""
        return {
            "rule": str(self.learning),
            "num_steps": self.num_steps,
            "encode": job.encoder.name,
            "epochs": self.epochs,
            "batch_size": self.batch_size if "train_samples" in job.samples.description else None,
            "loss": job.readout.name,
            "optimizer": describe_optimizer(job.optimizer),
            "chaos": None if self.chaos is None else name_of(csbp(self.chaos)),
            "autocast": autocast(job.device.type),
            "schedule": next(name for name, factor in SCHEDULES.items() if factor is job.schedule),
            "seed": job.seed,
            "network": describe_network(job.net),
            "data": job.samples.description,
        }
