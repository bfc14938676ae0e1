"""What a training gives back."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import nn

__all__ = ["Accuracy", "Result"]


class Accuracy(NamedTuple):
    """Share of the test samples that are classified rightly, in [0, 1].

    Attributes:
        last: after the last epoch; the figure to quote.
        best: highest of all epochs. Chosen by the test samples themselves, therefore too good by a
            little.

    >>> Accuracy(last=0.97, best=0.98).last
    0.97
    """

    last: float
    best: float


@dataclass(frozen=True)
class Result:
    """A finished training. Everything but ``each`` and the seconds is of the first seed.

    Attributes:
        net: the trained network.
        history: one row for each epoch: ``epoch``, ``train_loss``, ``train_accuracy``,
            ``test_loss``, ``test_accuracy``, ``spike_rate`` (test samples; spikes per neuron and
            step).
        test_accuracy: of the last and of the best epoch.
        spikes_per_neuron: mean of each spiking layer for one test sample, by the layer's path.
        seeds: that were trained, in order.
        each: test accuracy after the last epoch for each seed.
        seconds: training with its evaluations, all seeds, as the clock on the wall counts.
        cpu_seconds: the same in processor time.
        threads: that torch used.
        paths: files by kind: ``"card"``, ``"checkpoint"``, ``"raster"``, ``"curves"``; empty
            without ``out``.

    >>> history = ({"epoch": 1, "test_accuracy": 0.975},)
    >>> accuracy = Accuracy(0.975, 0.975)
    >>> print(Result(nn.Identity(), history, accuracy, {"1": 0.5}, (0,), (0.975,), 4.2, 4.1, 1))
    test accuracy 97.50 % after epoch 1, the last one (highest of all epochs: 97.50 %)
    0.50 spikes per neuron and sample in layer 1
    4.2 s of training (4.1 s of processor time) on 1 thread
    """

    net: nn.Module = field(repr=False)
    history: tuple[dict[str, float], ...] = field(repr=False)
    test_accuracy: Accuracy
    spikes_per_neuron: dict[str, float]
    seeds: tuple[int, ...]
    each: tuple[float, ...]
    seconds: float
    cpu_seconds: float
    threads: int
    paths: dict[str, Path] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean test accuracy over the seeds, after the last epoch."""
        return statistics.fmean(self.each)

    @property
    def std(self) -> float:
        """Standard deviation of it over the seeds (n - 1 in the denominator); 0 for one seed."""
        return statistics.stdev(self.each) if len(self.each) > 1 else 0.0

    def __str__(self) -> str:
        last, best = (100 * value for value in self.test_accuracy)
        lines = [
            f"test accuracy {last:.2f} % after epoch {len(self.history)}, the last one "
            f"(highest of all epochs: {best:.2f} %)"
        ]
        if len(self.each) > 1:
            lines.append(
                f"over {len(self.each)} seeds: mean {100 * self.mean:.2f} %, standard deviation "
                f"{100 * self.std:.2f}, "
                f"from {100 * min(self.each):.2f} to {100 * max(self.each):.2f} %"
            )
        spikes = ", ".join(
            f"{count:.2f} in layer {path}" for path, count in self.spikes_per_neuron.items()
        )
        lines += (
            [f"{spikes.replace(' in layer', ' spikes per neuron and sample in layer', 1)}"]
            if spikes
            else []
        )
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        lines.append(
            f"{self.seconds:.1f} s of training ({self.cpu_seconds:.1f} s of processor time) on "
            f"{threads}"
        )
        pictures = [str(self.paths[kind]) for kind in ("raster", "curves") if kind in self.paths]
        lines += [f"pictures: {', '.join(pictures)}"] if pictures else []
        return "\n".join(lines)
