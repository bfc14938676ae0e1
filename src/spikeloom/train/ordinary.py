"""Training of an ordinary network before its conversion, which can stop and resume at any batch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..data import Split
from ..saving.architecture import build, describe
from . import checkpoint
from .folder import Folder
from .interrupt import Interrupted, StopRequest
from .progress import left
from .restoring import keys, number, refuse
from .settings import check_same

__all__ = ["OrdinaryTraining", "finished"]

BATCH = 64


class OrdinaryTraining:
    """Training with Adam and a learning rate that falls to 0 along a cosine.

    Args:
        net: an ``nn.Sequential`` of layers that `snn.save` knows.
        data: training images.
        settings: what determines the result, ``epochs`` and ``lr`` among it; saved in the
            checkpoint.
        folder: where it is written.
        path: of the checkpoint, which in the end holds the trained network.
        say: called with a line for every epoch.
    """

    def __init__(
        self,
        net: nn.Module,
        data: Split,
        settings: dict[str, Any],
        folder: Folder,
        path: Path,
        say: Callable[[str], None],
    ) -> None:
        self.net, self.data, self.settings = net, data, settings
        self.folder, self.path, self.say = folder, path, say
        self.epochs: int = settings["epochs"]
        self.batches = -(-len(data.x_train) // BATCH)
        self.optimizer = torch.optim.Adam(net.parameters(), settings["lr"])
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, self.epochs * self.batches
        )
        self.epoch = self.batch = 0  # the next batch to train on
        self.total = 0.0  # loss of the epoch so far, of all samples
        self._order: torch.Tensor | None = (
            None  # state of torch's generator before the order of the epoch is drawn
        )

    def restore(self) -> None:
        """Go on from the checkpoint.

        Raises:
            ValueError: its settings differ, or it holds what cannot be.
        """
        path, state = str(self.path), checkpoint.load(self.path)
        kinds = {
            "settings": dict,
            "epoch": int,
            "batch": int,
            "total": (int, float),
            "model": dict,
            "optimizer": dict,
        }
        keys(path, state, {**kinds, "schedule": dict, "random": dict, "architecture": dict})
        check_same(path, state["settings"], self.settings)
        keys(path, state["random"], {"order": torch.Tensor, "now": torch.Tensor}, "random.")
        number(path, "epoch", state["epoch"], 0, self.epochs)
        number(
            path, "batch", state["batch"], 0, self.batches if state["epoch"] < self.epochs else 0
        )
        if state["architecture"] != describe(self.net):
            refuse(path, "its network is another one")
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.batch, self.total = state["epoch"], state["batch"], state["total"]
        self._order = state["random"]["order"]
        torch.set_rng_state(state["random"]["now"])

    def run(self) -> nn.Module:
        """Train to the last epoch, and return the network in evaluation mode.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a checkpoint has been written.
        """
        begin, first = time.perf_counter(), self.epoch + self.batch / self.batches
        with StopRequest() as stop:
            if self.epoch == 0 and self.batch == 0:
                self._order = torch.get_rng_state()
            while self.epoch < self.epochs:
                mean = self._epoch(stop)
                time_left = left(begin, self.epoch - first, self.epochs - self.epoch)
                self.say(f"training {self.epoch}/{self.epochs}  loss {mean:.4f}{time_left}")
                self.save()
            self._stop_if(stop)
        return self.net.eval()

    def _epoch(self, stop: StopRequest) -> float:
        """Train to the end of an epoch, and return its mean loss."""
        self._stop_if(stop)
        self.net.train()
        now = torch.get_rng_state()
        if self.batch:  # the order was drawn before the run was stopped
            assert self._order is not None
            torch.set_rng_state(self._order)
        else:
            self._order = now
        order = torch.randperm(len(self.data.x_train)).split(BATCH)
        if self.batch:
            torch.set_rng_state(now)
        for index in order[self.batch :]:
            loss = cross_entropy(self.net(self.data.x_train[index]), self.data.y_train[index])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.total += float(loss.detach()) * len(index)
            self.batch += 1
            self._stop_if(stop)
        mean = self.total / len(self.data.x_train)
        self.epoch, self.batch, self.total = self.epoch + 1, 0, 0.0
        return mean

    def _stop_if(self, stop: StopRequest) -> None:
        if not stop.made:
            return
        self.save()
        where = f"stopped after {self.epoch} of {self.epochs} epochs"
        where += f" and {self.batch} of {self.batches} batches" if self.batch else ""
        raise Interrupted(f"{where}; {self.path} holds all that is needed to go on (resume=True)")

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "settings": self.settings,
            "architecture": describe(self.net),
            "epoch": self.epoch,
            "batch": self.batch,
            "total": self.total,
            "random": {"order": self._order, "now": torch.get_rng_state()},
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        self.folder.save(self.path, state)


def finished(path: Path) -> nn.Module:
    """The network of a checkpoint, in evaluation mode.

    Raises:
        ValueError: the file is damaged, or its training is not finished.
    """
    state = checkpoint.load(path)
    keys(str(path), state, {"settings": dict, "architecture": dict, "epoch": int, "model": dict})
    if state["epoch"] != state["settings"].get("epochs"):
        raise ValueError(
            f"{path} holds a network whose training stopped after {state['epoch']} of "
            f"{state['settings'].get('epochs')} epochs; go on with it first, resume=True"
        )
    net = build(state["architecture"])
    net.load_state_dict(state["model"])
    return net.eval()
