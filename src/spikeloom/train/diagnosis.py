"""Why a training learned nothing, said at its end.

The initial network is stored, and the doctor checks it only if accuracy is at chance or the loss is
flat: a training that learns pays for a copy of its weights.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..doctor import Finding
from ..doctor.check import examine
from ..doctor.rules import PAGE, findings
from ..running.wrapper import LayerwiseModule
from .job import Job
from .model import fork_random_state

__all__ = ["RULES", "Beginning", "learned_nothing", "lines"]

FLAT = 1e-3  # relative change of the training loss over all epochs
MARGIN = 0.02  # above the share of the most frequent class: what a random network may reach
SAMPLES = 64
RULES = ("bptt", "tbptt", "stbp")  # those whose gradients the doctor computes


class Beginning:
    """A network and its optimizer before the training.

    Args:
        job: the training.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.copies: Any = None
        if job.chaos is None:
            try:
                self.copies = copy.deepcopy((job.net, job.optimizer.optimizer))
            except (TypeError, RuntimeError):  # a network that keeps tensors with a graph
                self.copies = None

    def findings(self, history: Sequence[dict[str, float]]) -> tuple[Finding, ...]:
        """What the doctor finds in the network before the training, if it learned nothing."""
        if self.copies is None or not learned_nothing(history, self.chance()):
            return ()
        net, optimizer = self.copies
        x, y = self.batch()
        with fork_random_state(self.job.device):
            torch.manual_seed(self.job.seed)
            value, num_steps = self.job.encoder.call(x)
        options: dict[str, Any] = {"optimizer": optimizer, "cheap": True, "style": style_of(net)}
        options["membranes"] = self.job.readout.field == "mem"
        return findings(examine(net, (value, y), self.job.readout.loss, num_steps, **options))

    def batch(self) -> Any:
        """The first training samples of one epoch, as the network received them."""
        samples, device = self.job.samples.train, self.job.device
        with fork_random_state(device):
            first = next(iter(samples.start()))
        x = first.x[:SAMPLES].to(device)
        if first.lengths is not None:  # the part that all of them have
            x = x[:, : int(first.lengths[:SAMPLES].min())]
        return x, first.y[:SAMPLES].to(device)

    def chance(self) -> float | None:
        """Share of the most frequent class among the examples; None without classes."""
        readout, labels = self.job.readout, self.job.samples.labels
        if not readout.classifies or labels.is_floating_point() or labels.dim() != 1:
            return None
        classes = readout.num_classes or int(labels.max()) + 1
        return max(1 / classes, float(labels.bincount().max()) / max(len(labels), 1))


def style_of(net: nn.Module) -> str:
    """``"loop"`` for a network with its own loop over time.

    >>> style_of(nn.ReLU())
    'step'
    """
    return "loop" if isinstance(net, LayerwiseModule) else "step"


def learned_nothing(history: Sequence[dict[str, float]], chance: float | None) -> bool:
    """Whether the accuracy is at chance, or the loss has not moved.

    Args:
        history: rows of the epochs, with ``train_loss`` and perhaps ``train_accuracy``.
        chance: accuracy of a constant answer; None where there are no classes.

    >>> learned_nothing([{"train_loss": 0.9, "train_accuracy": 0.1}], 0.1)
    True
    >>> learned_nothing([{"train_loss": 0.9}, {"train_loss": 0.8}], None)
    False
    """
    first, last = history[0]["train_loss"], history[-1]["train_loss"]
    accuracy = history[-1].get("train_accuracy")
    if accuracy is not None and chance is not None and accuracy <= chance + MARGIN:
        return True
    flat = len(history) > 1 and abs(first - last) <= FLAT * abs(first)
    return flat and (accuracy is None or accuracy < 0.5)


def lines(found: Sequence[Finding]) -> list[str]:
    """A finding in two lines.

    >>> lines([])
    []
    """
    if not found:
        return []
    first = found[0]
    where = f" at {first.path}" if first.path else ""
    return [
        f"nothing was learned: {first.fault}{where}: {first.found} (healthy: {first.healthy})",
        f"write: {first.write}; more: snn.doctor.check, {PAGE}",
    ]
