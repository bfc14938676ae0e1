"""What a loss reads from the network's output, and what the output predicts."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.lengths import by_length
from ..core.numbers import callable_
from ..decode import first_spike, population_counts
from ..functional.loss import ce_max_membrane_loss, mse_count_loss, mse_membrane_loss
from ..functional.loss_base import LossFunctions
from ..functional.loss_temporal import ce_temporal_loss, mse_temporal_loss
from .settings import name_of

__all__ = [
    "READINGS",
    "Reading",
    "Readout",
    "check_takes_lengths",
    "check_targets",
    "is_torch_loss",
    "one_number",
    "read_until",
    "readout",
]

OF_CLASSES = (
    "CrossEntropyLoss",
    "NLLLoss",
    "MultiMarginLoss",
    "cross_entropy",
    "nll_loss",
    "multi_margin_loss",
)  # losses of torch that take class numbers


class Reading(NamedTuple):
    """One number for each output of the network, read from its spikes or membranes over time."""

    field: str
    scores: Callable[[Tensor], Tensor]  # [T, B, N] to [B, N]
    words: str


READINGS: dict[str, Reading] = {
    "count": Reading("spk", lambda spk: spk.sum(0), "most spikes"),
    "rate": Reading("spk", lambda spk: spk.mean(0), "most spikes"),
    "max_membrane": Reading("mem", lambda mem: mem.max(0).values, "the highest membrane"),
    "mean_membrane": Reading("mem", lambda mem: mem.mean(0), "the highest mean membrane"),
    "last_membrane": Reading("mem", lambda mem: mem[-1], "the highest last membrane"),
    "sequence": Reading("mem", lambda mem: mem.transpose(0, 1), "the membrane at every step"),
}
FIRST = Reading("spk", lambda spk: -first_spike(spk), "the first spike")


class Readout(NamedTuple):
    """A loss, and the prediction that belongs to it.

    Attributes:
        loss: of outputs [T, B, N] and targets [B, ...], one number.
        field: ``"spk"``: it reads the network's output, the first part of a tuple; ``"mem"``: the
            membrane of the last neuron.
        scores: outputs to one number for each class or value, [B, N].
        rule: the prediction in words.
        name: of the loss, as written into run cards.
        classifies: whether the targets are class numbers.
        num_classes: fixed by a population code, else None: one class for each output.
    """

    loss: Callable[..., Any]
    field: str
    scores: Callable[[Tensor], Tensor]
    rule: str
    name: str
    classifies: bool = True
    num_classes: int | None = None

    def predict(self, scores: Tensor) -> Tensor:
        """Classes [B], or the scores themselves where the targets are values."""
        return scores.argmax(-1) if self.classifies else scores

    def read(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``scores`` of the outputs, of the first ``lengths`` steps of each sample."""
        return read_until(self.scores, outputs, lengths)

    def loss_until(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Any:
        """``loss`` of the outputs, of the first ``lengths`` steps of each sample.

        Raises:
            TypeError: the loss does not take lengths.
        """
        if lengths is None:
            return self.loss(outputs, targets)
        check_takes_lengths("loss", self.loss, "outputs, targets")
        return self.loss(outputs, targets, lengths=lengths)


def read_until(
    scores: Callable[[Tensor], Tensor], outputs: Tensor, lengths: Tensor | None
) -> Tensor:
    """``scores(outputs)``, of the first ``lengths`` steps of each sample.

    >>> import torch
    >>> read_until(READINGS["rate"].scores, torch.eye(3)[:, :2].unsqueeze(2), torch.tensor([1, 2]))
    tensor([[1.0000],
            [0.5000]])
    """
    if lengths is None:
        return scores(outputs)
    return by_length(lambda values, _: scores(values), outputs, outputs[0], lengths)


def check_takes_lengths(name: str, function: Callable[..., Any], arguments: str) -> None:
    """Check that a function can know which steps count.

    Args:
        name: of the argument of `fit` that holds it.
        function: a loss or a penalty.
        arguments: its arguments, for the message.

    Raises:
        TypeError: it has no argument ``lengths``.

    >>> check_takes_lengths("loss", mse_count_loss(), "outputs, targets")
    """
    called: Any = function if inspect.isroutine(function) else type(function).__call__
    try:
        known = "lengths" in inspect.signature(called).parameters
    except ValueError:  # a function of C
        known = False
    if not known:
        raise TypeError(
            f"{name} must know which steps of samples of unequal length count, got "
            f"{name_of(function)} without an argument lengths; write def {name}({arguments}, "
            "lengths=None), with the steps of each sample, [B]"
        )


def is_torch_loss(loss: Any) -> bool:
    """Whether a loss is one of torch's, which knows no time axis.

    >>> from torch import nn
    >>> is_torch_loss(nn.CrossEntropyLoss()), is_torch_loss(mse_count_loss())
    (True, False)
    """
    function = loss if hasattr(loss, "__name__") else type(loss)
    return str(getattr(function, "__module__", "")).startswith("torch.nn")


def readout(
    loss: Any = None, reading: Any = None, *, classifies: bool = True, spiking: bool = True
) -> Readout:
    """The readout for the arguments ``loss`` and ``readout`` of `fit`.

    Losses of spike times go with the class that fires first, losses of membranes with the highest
    membrane, all others with the class that fires most. A loss of torch receives one number for
    each output.

    Args:
        loss: of `fit`.
        reading: ``readout`` of `fit`.
        classifies: whether the targets are class numbers.
        spiking: whether the last neuron fires.

    Raises:
        TypeError: ``loss`` is not callable, or does not take such targets.
        ValueError: an unknown name.

    >>> from torch import nn
    >>> readout().rule, readout(nn.MSELoss(), classifies=False, spiking=False).field
    ('most spikes', 'mem')
    """
    loss = mse_count_loss(correct_rate=0.9, incorrect_rate=0.1) if loss is None else loss
    given: Any = loss
    if isinstance(loss, type) or not callable(loss):
        hint = f"{loss.__name__}()" if isinstance(loss, type) else "snn.functional.ce_rate_loss()"
        raise TypeError(
            f"loss must be a function of (spk [T, B, N], labels [B]), got {loss!r}; write "
            f"loss={hint}"
        )
    name = name_of(loss)
    if isinstance(loss, LossFunctions):
        if reading is not None:
            raise ValueError(
                f"readout={reading!r} is for losses of torch and of your own, got {loss.__name__}, "
                "which reads the output in its own way; leave readout out"
            )
        return _of_library(loss, name)
    read = _reading(reading, classifies, spiking, is_torch_loss(loss))
    if not is_torch_loss(loss):
        return Readout(loss, read.field, read.scores, read.words, name, classifies)

    def of_scores(outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        return given(exact(read_until(read.scores, outputs, lengths)), targets)

    words = read.words if classifies else read.words.removeprefix("most ")
    return Readout(of_scores, read.field, read.scores, words, name, classifies)


def exact(scores: Tensor) -> Tensor:
    """Half precision in float32."""
    return scores if scores.dtype in (torch.float32, torch.float64) else scores.float()


def _of_library(loss: LossFunctions, name: str) -> Readout:
    if isinstance(loss, (mse_membrane_loss, ce_max_membrane_loss)):
        return Readout(loss, *READINGS["max_membrane"], name)
    if isinstance(loss, (ce_temporal_loss, mse_temporal_loss)):
        return Readout(loss, *FIRST, name)
    if getattr(loss, "population_code", False):
        classes = int(getattr(loss, "num_classes", 0))
        return Readout(
            loss,
            "spk",
            lambda spk: population_counts(spk, classes),
            "most spikes of a group",
            name,
            num_classes=classes,
        )
    return Readout(loss, *READINGS["count"], name)


def _reading(reading: Any, classifies: bool, spiking: bool, of_torch: bool) -> Reading:
    if reading is not None and not isinstance(reading, str):
        callable_("readout", reading, '"count"')
        return Reading("spk", reading, name_of(reading))
    if reading is not None:
        return READINGS[checks.choice("readout", reading, READINGS)]
    if not of_torch:
        return READINGS["count"]
    if spiking:
        return READINGS["count" if classifies else "rate"]
    return READINGS["max_membrane" if classifies else "last_membrane"]


def check_targets(loss: Any, scores: Tensor, targets: Tensor) -> None:
    """Check that a loss of torch compares like with like; torch would broadcast some shapes.

    Args:
        loss: as given to `fit`.
        scores: what it reads, [B, ...].
        targets: [B, ...].

    Raises:
        ValueError: scores and targets do not belong together.

    >>> import torch
    >>> from torch import nn
    >>> check_targets(nn.CrossEntropyLoss(), torch.zeros(2, 3), torch.tensor([0, 1]))
    """
    name = loss.__name__ if hasattr(loss, "__name__") else type(loss).__name__
    if not is_torch_loss(loss) or (name in OF_CLASSES and not targets.is_floating_point()):
        return
    if scores.shape == targets.shape:
        return
    if not targets.is_floating_point():
        hint = "loss=nn.CrossEntropyLoss(), or targets as floats of the shape of the outputs"
    elif targets.dim() == 1 and scores.shape[1:] == (1,):
        hint = "y.unsqueeze(1)"
    else:
        hint = f"a last layer with {targets.shape[-1]} outputs, or another readout"
    raise ValueError(
        f"{name} compares outputs and targets of one shape, got {tuple(scores.shape)} and "
        f"{tuple(targets.shape)}; write {hint}"
    )


def one_number(loss: Tensor, name: str) -> Tensor:
    """The loss as a scalar.

    Raises:
        ValueError: it has several elements.

    >>> import torch
    >>> one_number(torch.ones(1), "ce_rate_loss")
    tensor(1.)
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        came = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f'{name} must return one number, got {came}; write reduction="mean"')
    return loss.reshape(())
