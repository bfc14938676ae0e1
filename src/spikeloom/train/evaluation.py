"""``evaluate``: how well a network does, without a training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.notebook import Printed
from ..core.numbers import device_of
from ..data import Split
from ..functional.loss_base import LossFunctions
from .encoding import TIMED, encoder
from .measure import evaluate as measured
from .metrics import confusion
from .model import Model, fork_random_state, has_own_loop, spiking_layers
from .models import is_spiking
from .readout import readout as readout_of
from .request import PRECISIONS, metrics_of
from .result import shown
from .samples import Batches, evaluated
from .settings import whole
from .time_control import Shuffled

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation(Printed):
    """What a network does on samples.

    Attributes:
        accuracy: share of the samples that are classified rightly; None where targets are values.
        loss: mean of the samples; None for values without a loss.
        metrics: further figures, by name.
        predictions: classes [N], or values [N, ...].
        scores: one number for each class or value, [N, ...].
        targets: [N, ...].
        spikes_per_neuron: mean of each spiking layer for one sample, by the layer's path.
        spike_rate: spikes per neuron and step, over all layers.

    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
    >>> x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> snn.evaluate(net, (x, y), num_steps=5).scores.shape
    torch.Size([6, 3])
    """

    accuracy: float | None
    loss: float
    metrics: dict[str, float]
    predictions: Tensor = field(repr=False)
    scores: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    spikes_per_neuron: dict[str, float] = field(repr=False)
    spike_rate: float

    @property
    def confusion(self) -> Tensor:
        """How often each class was taken for which, [C, C]; the row is the target."""
        return confusion(self.scores, self.targets)

    def __str__(self) -> str:
        figures = {} if self.accuracy is None else {"accuracy": self.accuracy}
        figures |= {"loss": self.loss, **self.metrics}
        head = ", ".join(f"{name} {shown(name, value)}" for name, value in figures.items())
        rate = f"{self.spike_rate:.3f} spikes per neuron and step"
        return f"{head} on {len(self.targets)} samples; {rate}"


@checks.suggesting
def evaluate(
    net: nn.Module,
    data: Any,
    *,
    num_steps: int | None = None,
    encode: Any = None,
    loss: Any = None,
    readout: Any = None,
    metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] | None = None,
    batch_size: int = 256,
    precision: str | None = None,
    device: Any = None,
    workers: int = 0,
    seed: int = 0,
    shuffled_in_time: bool = False,
) -> Evaluation:
    """Run samples through a network in evaluation mode and compare it with their targets.

    Args:
        net: as for `fit`; its weights, mode and states are left as they were.
        data: samples and targets ``(x, y)``, a data set, a loader, or a `data.Split`, whose test
            part counts; of unequal length as for `fit`.
        num_steps, encode, loss, readout, metrics, precision, device, workers: as for `fit`.
        batch_size: samples a batch; a loader has its own.
        seed: of random draws, such as those of ``encode="rate"``.
        shuffled_in_time: show the steps of each sample in a random order; what is still recognised
            needs no time, see `train.time_control`.

    Returns:
        An `Evaluation`; printing it shows the essentials.

    Raises:
        ValueError, TypeError: as `fit`.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
    >>> found = evaluate(net, snn.data.iris(), num_steps=5)
    >>> found.predictions.shape, found.confusion.sum()
    (torch.Size([30]), tensor(30))
    """
    whole("batch_size", batch_size)
    layers, last = spiking_layers(net, trains=False)
    if device is not None:
        net.to(device_of("device", device))
    encoding = encoder(encode, num_steps, own_loop=has_own_loop(net))
    if isinstance(data, Split):
        data = (data.x_test, data.y_test)
    with fork_random_state(torch.device("cpu")):
        batches: Batches = evaluated(
            data,
            batch_size,
            time_first=encoding.name == "time_first",
            workers=workers,
            timed=encoding.name in TIMED,
        )
        classifies = not next(batches.start()).y.is_floating_point()
    checks.flags("evaluate", shuffled_in_time=shuffled_in_time)
    if shuffled_in_time:
        if encoding.name not in TIMED:
            raise ValueError(
                "shuffled_in_time is for samples that carry time, got "
                f'encode={encoding.name!r}; write encode="sequence" for samples [T, ...]'
            )
        batches = Shuffled(batches, seed)
    if not classifies and (loss is None or isinstance(loss, LossFunctions)):
        raise TypeError(
            "the targets are values, and the loss takes classes; write loss=nn.MSELoss(), or "
            "y.long() if they are classes"
        )
    if precision is not None:
        checks.choice("precision", precision, PRECISIONS)
    neuron: Any = net.get_submodule(last)
    model = Model(
        net=net,
        encoder=encoding,
        readout=readout_of(loss, readout, classifies=classifies, spiking=is_spiking(neuron)),
        seed=seed,
        layers=layers,
        last=last,
        metrics=metrics_of(metrics),
        precision=PRECISIONS[precision or "fp32"],
    )
    score = measured(model, batches)
    return Evaluation(
        score.accuracy,
        score.tally.loss,
        score.metrics,
        model.readout.predict(score.scores),
        score.scores,
        score.targets,
        score.tally.spikes_per_neuron,
        score.tally.spike_rate,
    )
