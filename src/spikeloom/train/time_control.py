"""What a network gains from time: two controls that do not know the order of the steps.

A network may classify recordings by how much of each feature they hold, without looking at when.
`time_control` compares its accuracy with that of the same network on steps in random order, and
with ridge regression on the mean of each feature over time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.lengths import cut
from ..core.notebook import Printed
from ..core.numbers import device_of
from .encoding import TIMED, encoder
from .measure import evaluate as measured
from .model import Model, fork_random_state, has_own_loop, spiking_layers
from .models import is_spiking
from .readout import readout as readout_of
from .request import PRECISIONS
from .samples import Batch, Batches, Samples, samples
from .settings import whole

__all__ = ["Shuffled", "TimeControl", "check_timed", "controlled", "time_control"]

STATIC = 0.05  # gap below which a result does not show that time matters
MOST = 8192  # samples of a ridge regression with more features than that
STRENGTHS = 10.0 ** -torch.arange(9, dtype=torch.float64)  # of ridge, in its largest eigenvalue


@dataclass(frozen=True)
class TimeControl(Printed):
    """Accuracy on test samples, and what is reached without the order of their steps.

    Attributes:
        accuracy: of the network, in [0, 1].
        shuffled: of the same network, with the steps of each sample in a random order.
        ridge: of ridge regression on the mean of each feature over time.

    >>> control = TimeControl(accuracy=0.93, shuffled=0.4, ridge=0.9)
    >>> round(control.gap, 2), control.static
    (0.03, True)
    """

    accuracy: float
    shuffled: float
    ridge: float

    @property
    def gap(self) -> float:
        """Accuracy above the better one of the two controls."""
        return self.accuracy - max(self.shuffled, self.ridge)

    @property
    def static(self) -> bool:
        """Whether the gap is below 5 points, so that the result says little about time."""
        return self.gap < STATIC

    def __str__(self) -> str:
        text = (
            f"time control: accuracy {100 * self.accuracy:.2f} %, "
            f"{100 * self.shuffled:.2f} % on steps in random order, "
            f"{100 * self.ridge:.2f} % by ridge regression on means over time; "
        )
        if self.static:
            return f"{text}static: the gap of {100 * self.gap:.2f} points is below 5"
        return f"{text}the gap is {100 * self.gap:.2f} points"


@checks.suggesting
def time_control(
    net: nn.Module,
    data: Any,
    *,
    encode: str = "sequence",
    loss: Any = None,
    readout: Any = None,
    batch_size: int = 256,
    precision: str | None = None,
    device: Any = None,
    workers: int = 0,
    seed: int = 0,
) -> TimeControl:
    """Compare the test accuracy of a trained network with controls that do not know time.

    The controls are the same network on test samples whose steps are in a random order, drawn for
    each sample, and ridge regression on the mean of each feature over time (in closed form, with
    the strength that leave-one-out predictions of the training samples favour).

    Args:
        net: as for `fit`; its weights, mode and states are left as they were.
        data: training and test samples that carry time, in a form that `fit` takes.
        encode: ``"sequence"`` or ``"time_first"``.
        loss, readout, precision, device, workers: as for `fit`.
        batch_size: samples a batch; loaders have their own.
        seed: of the random orders.

    Returns:
        A `TimeControl`; printing it shows the essentials.

    Raises:
        ValueError, TypeError: as `fit`, or the samples do not carry time, are not divided into
            training and test samples, or have no classes.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
    >>> x, y = torch.rand(12, 5, 4), torch.arange(12) % 3
    >>> time_control(net, (x, y, x, y)).static
    True
    """
    whole("batch_size", batch_size)
    layers, last = spiking_layers(net, trains=False)
    if device is not None:
        net.to(device_of("device", device))
    encoding = encoder(encode, None, own_loop=has_own_loop(net))
    with fork_random_state(torch.device("cpu")):
        found = samples(
            data,
            batch_size,
            seed,
            time_first=encoding.name == "time_first",
            workers=workers,
            timed=encoding.name in TIMED,
        )
    if precision is not None:
        checks.choice("precision", precision, PRECISIONS)
    neuron: Any = net.get_submodule(last)
    spiking = is_spiking(neuron)
    model = Model(
        net=net,
        encoder=encoding,
        readout=readout_of(loss, readout, classifies=found.classifies, spiking=spiking),
        seed=seed,
        layers=layers,
        last=last,
        precision=PRECISIONS[precision or "fp32"],
    )
    check_timed(model, found)
    return controlled(model, found)


def check_timed(model: Model, data: Samples) -> None:
    """Check that a time control applies.

    Raises:
        ValueError: the samples do not carry time, or there are no test samples.
        TypeError: the targets are not classes.
    """
    if model.encoder.name not in TIMED:
        raise ValueError(
            f"a time control is for samples that carry time, got encode={model.encoder.name!r}; "
            'write encode="sequence" for samples [T, ...], or leave time_control out'
        )
    if data.test is None:
        raise ValueError("a time control compares test accuracies, got no test samples; add some")
    if not data.classifies:
        raise TypeError("a time control compares accuracies, got targets that are no classes")


def controlled(model: Model, data: Samples) -> TimeControl:
    """The controls of a trained network, see `time_control`."""
    assert data.test is not None
    order = data.train.generator
    before = None if order is None else order.get_state()
    try:
        with fork_random_state(model.device, model.net):
            accuracies = [
                measured(model, batches).accuracy
                for batches in (data.test, Shuffled(data.test, model.seed))
            ]
            ridge = ridge_accuracy(_means(data.train), _means(data.test))
    finally:
        if order is not None and before is not None:
            order.set_state(before)
    accuracy, shuffled = (0.0 if value is None else value for value in accuracies)
    return TimeControl(accuracy, shuffled, ridge)


class Shuffled:
    """Batches whose samples have their steps in a random order each, the same at every pass.

    Args:
        batches: of samples [B, T, ...].
        seed: of the orders.
    """

    def __init__(self, batches: Batches, seed: int) -> None:
        self.batches, self.seed = batches, seed
        self.generator: torch.Generator | None = None

    def __len__(self) -> int:
        return len(self.batches)

    def start(self, skip: int = 0) -> Iterator[Batch]:
        """A new pass, see `Batches`."""
        draws = torch.Generator().manual_seed(self.seed)
        return (self._shuffled(batch, draws) for batch in self.batches.start(skip))

    def _shuffled(self, batch: Batch, draws: torch.Generator) -> Batch:
        x = batch.x
        keys = torch.rand(x.shape[:2], generator=draws).to(x.device)
        if batch.lengths is not None:  # the padding remains at the end
            steps = torch.arange(x.shape[1], device=x.device)
            keys = torch.where(steps < batch.lengths.unsqueeze(1), keys, 2.0)
        order = keys.argsort(1)
        rows = torch.arange(len(x), device=x.device).unsqueeze(1)
        return batch._replace(x=x[rows, order])


def _means(batches: Batches) -> tuple[Tensor, Tensor]:
    """Means over time of all samples, [N, features], and their classes."""
    found = []
    for batch in batches.start():
        x = batch.x[: batch.count].double().transpose(0, 1).flatten(2)  # [T, B, features]
        if batch.lengths is None:
            mean = x.mean(0)
        else:
            lengths = batch.lengths[: batch.count]
            mean = cut(x, lengths).sum(0) / lengths.unsqueeze(1)
        found.append((mean.cpu(), batch.y[: batch.count].cpu()))
    x, y = (torch.cat(part) for part in zip(*found, strict=True))
    return x, y


def ridge_accuracy(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Accuracy on test samples of a ridge regression from features to one-hot classes.

    Its strength is the one whose leave-one-out predictions have the smallest squared error.

    Args:
        train: features [N, D], float64, and classes [N].
        test: those to judge by.

    >>> x = torch.tensor([[0.0], [0.1], [1.0], [1.1]], dtype=torch.float64)
    >>> ridge_accuracy((x, torch.tensor([0, 0, 1, 1])), (x[:2], torch.tensor([0, 1])))
    0.5
    """
    x, y = train
    if min(x.shape) > MOST:
        x, y = x[:MOST], y[:MOST]
    mean, scale = x.mean(0), x.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    x = (x - mean) / scale
    wanted = nn.functional.one_hot(y, int(y.max()) + 1).double()
    offset = wanted.mean(0)
    left, squares = _left_vectors(x)
    projected = left.T @ (wanted - offset)
    best, weights = float("inf"), torch.zeros(x.shape[1], len(offset), dtype=x.dtype)
    for strength in STRENGTHS * squares.max() if len(squares) else ():
        shrunk = squares / (squares + strength)
        leverage = (left.square() * shrunk).sum(1) + 1 / len(x)
        error = (wanted - offset - left * shrunk @ projected) / (1 - leverage).unsqueeze(1)
        if float(error.square().sum()) < best:
            best = float(error.square().sum())
            weights = x.T @ (left / (squares + strength) @ projected)
    scores = (test[0] - mean) / scale @ weights + offset
    return float((scores.argmax(1) == test[1]).double().mean())


def _left_vectors(x: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors [N, R] and squared singular values [R], from the smaller Gram
    matrix."""
    wide = x.shape[1] > len(x)
    squares, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    known = squares > 1e-12 * squares.max().clamp(min=torch.finfo(x.dtype).tiny)
    squares, vectors = squares[known], vectors[:, known]
    return (vectors if wide else x @ vectors / squares.sqrt()), squares
