"""What a training gives back."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from ..core.notebook import Printed
from ..core.numbers import array
from ..doctor import Finding
from .diagnosis import lines
from .encoding import TIMED
from .padding import Padded, is_list_of_samples, padded

if TYPE_CHECKING:
    from .model import Model
    from .time_control import TimeControl

__all__ = ["Accuracy", "Result"]


class Accuracy(NamedTuple):
    """Share of correctly classified test samples, in [0, 1]; NaN without samples or classes.

    Attributes:
        last: of the trained network; the figure to quote.
        best: highest of all epochs. Chosen by the test samples themselves, therefore too good by a
            little; with validation samples the test samples are looked at once, and it is ``last``.

    >>> Accuracy(last=0.97, best=0.98).last
    0.97
    """

    last: float
    best: float


@dataclass(frozen=True)
class Result(Printed):
    """A finished training. Everything but ``each`` and the seconds is of the first seed.

    Attributes:
        net: the trained network.
        history: one row for each epoch: ``epoch``, ``train_loss``, ``train_accuracy``, then loss,
            accuracy and metrics of the validation samples (``validation_loss`` ...) or, without
            those, of the test samples (``test_loss`` ...), and their ``spike_rate`` in spikes per
            neuron and step. Accuracies are there where the targets are classes.
        test_accuracy: of the last and of the best epoch.
        spikes_per_neuron: mean of each spiking layer for one test sample, by the layer's path.
        seeds: that were trained, in order.
        each: ``score`` for each seed.
        seconds: training with its evaluations, all seeds, as the clock on the wall counts.
        cpu_seconds: the same in processor time.
        threads: that torch used.
        paths: files by kind: ``"card"``, ``"checkpoint"``, ``"net"``, ``"raster"``, ``"curves"``;
            empty without ``out``.
        test: loss, accuracy and metrics of the trained network on the test samples.
        scored: what ``each`` holds: ``"test_accuracy"``, or the next best figure there is.
        stopped: why a callback ended the training, or "".
        findings: what `doctor.check` finds in the network before the training, if accuracy is at
            chance or the loss is flat after it.
        time_control: what is reached without the order of the steps, if `fit` compared.

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
    test: dict[str, float] = field(default_factory=dict)
    scored: str = "test_accuracy"
    stopped: str = ""
    findings: tuple[Finding, ...] = ()
    time_control: "TimeControl | None" = None
    _model: "Model | None" = field(default=None, repr=False, compare=False)

    @property
    def mean(self) -> float:
        """Mean of ``each`` over the seeds."""
        return statistics.fmean(self.each)

    @property
    def std(self) -> float:
        """Standard deviation of it over the seeds (n - 1 in the denominator); 0 for one seed."""
        return statistics.stdev(self.each) if len(self.each) > 1 else 0.0

    def predict(self, x: Any) -> Tensor:
        """Classes [N] for samples [N, ...], or the predicted values [N, ...] of a regression.

        Args:
            x: samples as they were given to `fit`, on any device; a list of [T_i, ...] for samples
                of unequal length.

        >>> import spikeloom as snn
        >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
        >>> data = snn.data.iris()
        >>> result = snn.fit(net, data, num_steps=5, epochs=1, progress=False)
        >>> result.predict(data.x_test).shape
        torch.Size([30])
        """
        model = self._known()
        return model.predict(*samples_of(x, timed=model.encoder.name in TIMED))

    def scores(self, x: Any) -> Tensor:
        """One number for each class or value, [N, ...], such as spike counts; see `predict`."""
        model = self._known()
        return model.scores(*samples_of(x, timed=model.encoder.name in TIMED))

    def _known(self) -> "Model":
        if self._model is None:
            raise ValueError(
                "a result that was pickled does not know how its network reads samples; write "
                "snn.evaluate(result.net, ...)"
            )
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}  # functions of the caller cannot be pickled

    def __str__(self) -> str:
        control = [] if self.time_control is None else [str(self.time_control)]
        return "\n".join([*self._figures(), *control, *self._costs(), *lines(self.findings)])

    def _figures(self) -> list[str]:
        """What was reached."""
        lines = [f"{self._quoted()} after epoch {len(self.history)}, the last one"]
        highest = self.test_accuracy.best
        if "test_accuracy" in self.history[-1]:
            lines[0] += f" (highest of all epochs: {100 * highest:.2f} %)"
        if self.stopped:
            lines[0] += f" ({self.stopped})"
        figures = [
            f"{name} {shown(name, value)}"
            for name, value in self.test.items()
            if f"test_{name}" != self.scored and name != "loss"
        ]
        lines += [f"test {', '.join(figures)}"] if figures else []
        if len(self.each) > 1:
            unit = 100 if self.scored.endswith("accuracy") else 1
            mark = " %" if unit == 100 else ""
            low, high = min(self.each), max(self.each)
            lines.append(
                f"over {len(self.each)} seeds: mean {unit * self.mean:.2f}{mark}, standard "
                f"deviation {unit * self.std:.2f}, from {unit * low:.2f} to {unit * high:.2f}{mark}"
            )
        return lines

    def _quoted(self) -> str:
        part, _, figure = self.scored.partition("_")
        part = "training" if part == "train" else part
        return f"{part} {figure} {shown(figure, self.each[0])}"

    def _costs(self) -> list[str]:
        """Spikes, time and files."""
        spikes = ", ".join(
            f"{count:.2f} in layer {path}" for path, count in self.spikes_per_neuron.items()
        )
        lines = (
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
        return [*lines, f"pictures: {', '.join(pictures)}"] if pictures else lines


def shown(name: str, value: float, digits: int = 2) -> str:
    """A figure for people: shares in percent, with some digits after the point.

    >>> shown("accuracy", 0.975), shown("loss", 0.1234)
    ('97.50 %', '0.1234')
    """
    return f"{100 * value:.{digits}f} %" if name.endswith("accuracy") else f"{value:.4g}"


def samples_of(x: Any, *, timed: bool = False) -> Padded:
    """Samples as a tensor.

    Args:
        x: samples.
        timed: whether they carry time, so that a list of them may differ in length.

    Raises:
        TypeError: a loader, a data set, or something else that is no array.

    >>> samples_of([[0.5]])
    Padded(x=tensor([[0.5000]]), lengths=None)
    """
    if timed and is_list_of_samples(x):
        return padded(x, timed=True)
    found = array(
        x,
        lambda: (
            f"samples must be a tensor or an array, got {type(x).__name__}; write "
            "torch.cat([result.predict(x) for x, _ in loader]) for a loader"
        ),
    )
    return Padded(found, None)
