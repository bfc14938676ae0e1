"""Counting: loss, hits and spikes over many batches."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from .job import Job, fork_random_state

__all__ = ["Tally", "evaluate"]


@dataclass
class Tally:
    """Sums over batches, and the means that they give.

    >>> tally = Tally()
    >>> tally.add(0.5, torch.tensor([1, 0]), torch.tensor([1, 1]), {"1": torch.ones(4, 2, 3)})
    >>> tally.loss, tally.accuracy, tally.spikes_per_neuron
    (0.5, 0.5, {'1': 4.0})
    """

    samples: int = 0
    hits: int = 0
    loss_sum: float = 0.0
    spikes: dict[str, int] = field(default_factory=dict)  # of all neurons of a layer
    neurons: dict[str, int] = field(default_factory=dict)
    neuron_steps: int = 0  # neurons of all layers x steps x samples

    def add(
        self,
        loss: float,
        predicted: Tensor,
        labels: Tensor,
        spikes: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Count one batch; ``loss`` is its mean. Counting spikes costs about a tenth of a forward
        pass."""
        number = len(labels)
        self.samples += number
        self.loss_sum += loss * number
        self.hits += int((predicted == labels).sum())
        for path, spk in (spikes or {}).items():
            self.spikes[path] = self.spikes.get(path, 0) + int(spk.detach().count_nonzero())
            self.neurons[path] = spk[0, 0].numel()
            self.neuron_steps += spk.numel()

    @property
    def loss(self) -> float:
        """Mean of a sample."""
        return self.loss_sum / max(self.samples, 1)

    @property
    def accuracy(self) -> float:
        """Share of hits."""
        return self.hits / max(self.samples, 1)

    @property
    def spike_rate(self) -> float:
        """Spikes per neuron and step, over all layers."""
        return sum(self.spikes.values()) / max(self.neuron_steps, 1)

    @property
    def spikes_per_neuron(self) -> dict[str, float]:
        """Spikes of a neuron for one sample, the mean of each layer."""
        return {
            path: count / self.neurons[path] / self.samples for path, count in self.spikes.items()
        }

    def state(self) -> dict[str, Any]:
        """All sums as plain values; ``Tally(**state)`` brings them back."""
        return asdict(self)


def evaluate(job: Job) -> Tally:
    """Run all test samples. Leaves the parameters, the mode and torch's generators as they were.

    Random draws (rate coding) are the same in every evaluation of a seed.
    """
    tally, training = Tally(), job.net.training
    job.net.eval()
    try:
        with fork_random_state(job.device), torch.no_grad():
            torch.manual_seed(job.seed)
            for x, y in job.samples.test.start():
                x, y = x.to(job.device), y.to(job.device)
                outputs, spikes = job.forward(x)
                tally.add(job.loss(outputs, y).item(), job.readout.predict(outputs), y, spikes)
    finally:
        job.net.train(training)
    return tally
