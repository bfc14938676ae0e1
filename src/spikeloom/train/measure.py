"""Counting: loss, hits and spikes over many batches."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from .model import Model, fork_random_state
from .processes import Share, gathered
from .samples import Batches

__all__ = ["Score", "Tally", "evaluate"]


@dataclass
class Tally:
    """Sums over batches, and the means that they give.

    >>> tally = Tally()
    >>> tally.add(0.5, hits=1, number=2, spikes={"1": torch.ones(4, 2, 3)})
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
        hits: int,
        number: int,
        spikes: Mapping[str, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> None:
        """Count one batch; ``loss`` is its mean. Counting costs a tenth of a forward pass.

        Args:
            loss: mean of its samples.
            hits: samples that are classified rightly.
            number: samples that count, the first ones.
            spikes: of layers, [T, B, ...], by path.
            lengths: steps of each sample, [B]. Default: T.
        """
        self.samples += number
        self.loss_sum += loss * number
        self.hits += hits
        for path, spk in (spikes or {}).items():
            spk = spk[:, :number]
            self.spikes[path] = self.spikes.get(path, 0) + int(spk.detach().count_nonzero())
            self.neurons[path] = spk.shape[2:].numel()
            steps = len(spk) * number if lengths is None else int(lengths[:number].sum())
            self.neuron_steps += steps * self.neurons[path]

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

    def summed(self, here: Share) -> "Tally":
        """The sums of all processes."""
        paths = list(self.spikes)
        numbers = [self.samples, self.hits, self.loss_sum, self.neuron_steps]
        totals = here.sum([*numbers, *(self.spikes[path] for path in paths)])
        samples, hits, loss_sum, neuron_steps = totals[:4]
        spikes = {path: round(total) for path, total in zip(paths, totals[4:], strict=True)}
        return Tally(
            round(samples), round(hits), loss_sum, spikes, self.neurons, round(neuron_steps)
        )


@dataclass(frozen=True)
class Score:
    """What an evaluation found.

    Attributes:
        tally: sums over the samples.
        accuracy: share of hits; None where the targets are values.
        metrics: the further figures, by name.
        scores: one number for each class or value, [N, ...], in the order of the samples; of all
            processes where there are metrics, else of this one.
        targets: [N, ...].
    """

    tally: Tally
    accuracy: float | None
    metrics: dict[str, float]
    scores: Tensor
    targets: Tensor

    @property
    def figures(self) -> dict[str, float]:
        """Loss, accuracy where the targets are classes, and the metrics."""
        found = {} if self.accuracy is None else {"accuracy": self.accuracy}
        return {"loss": self.tally.loss, **found, **self.metrics}

    def row(self, part: str) -> dict[str, float]:
        """The figures with the name of the part of the data in front."""
        return {f"{part}_{name}": value for name, value in self.figures.items()}


def _figure(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"metrics[{name!r}] must return one number, got {type(value).__name__} of shape "
            f"{tuple(getattr(value, 'shape', ()))}; write its mean"
        ) from error


def hits_of(model: Model, scores: Tensor, targets: Tensor) -> int:
    """Number of samples whose class is predicted rightly; 0 where the targets are values."""
    if not model.readout.classifies:
        return 0
    return int((model.readout.predict(scores) == targets).sum())


def evaluate(model: Model, batches: Batches, here: Share | None = None) -> Score:
    """Run all samples. Leaves the parameters, the mode and torch's generators as they were.

    Random draws (rate coding) are the same in every evaluation of a seed.
    """
    here = Share() if here is None else here
    tally, training = Tally(), model.net.training
    scores: list[Tensor] = []
    targets: list[Tensor] = []
    model.net.eval()
    try:
        with fork_random_state(model.device, model.net), torch.no_grad():
            torch.manual_seed(model.seed)
            for batch in batches.start():
                x, y = batch.x.to(model.device), batch.y.to(model.device)
                lengths = None if batch.lengths is None else batch.lengths.to(model.device)
                outputs, spikes = model.forward(x, lengths)
                found = model.readout.read(outputs, lengths)[: batch.count]
                y_counted = y[: batch.count]
                loss = model.loss(outputs, y, lengths).item()
                hits = hits_of(model, found, y_counted)
                tally.add(loss, hits, batch.count, spikes, lengths)
                scores.append(found.float().cpu())
                targets.append(y_counted.cpu())
    finally:
        model.net.train(training)
    tally = tally.summed(here) if here.size > 1 else tally
    every, wanted = torch.cat(scores), torch.cat(targets)
    if model.metrics and here.size > 1:
        parts = gathered((every, wanted))
        every, wanted = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    metrics = {name: _figure(name, f(every, wanted)) for name, f in model.metrics.items()}
    accuracy = tally.accuracy if model.readout.classifies else None
    return Score(tally, accuracy, metrics, every, wanted)
