"""What a loss reads from the network's output, and which class that output names."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from ..decode import first_spike, population_vote
from ..functional.loss import ce_max_membrane_loss, mse_count_loss, mse_membrane_loss
from ..functional.loss_temporal import ce_temporal_loss, mse_temporal_loss
from .settings import name_of

__all__ = ["Readout", "one_number", "readout"]


class Readout(NamedTuple):
    """A loss, and the prediction that belongs to it.

    Attributes:
        loss: of outputs [T, B, N] and labels [B], one number.
        field: ``"spk"``: it reads the network's output, the first part of a tuple; ``"mem"``: the
            membrane of the last neuron.
        predict: outputs to classes [B].
        rule: the prediction in words.
        name: of the loss, as written into run cards.
        num_classes: fixed by a population code, else None: one class for each output.
    """

    loss: Callable[..., Any]
    field: str
    predict: Callable[[Tensor], Tensor]
    rule: str
    name: str
    num_classes: int | None = None


def readout(loss: Any = None) -> Readout:
    """The readout for the argument ``loss`` of `fit`.

    Losses of spike times go with the class that fires first, losses of membranes with the highest
    membrane, all others with the class that fires most.

    Raises:
        TypeError: ``loss`` is not callable.

    >>> readout().rule
    'most spikes'
    """
    loss = mse_count_loss(correct_rate=0.9, incorrect_rate=0.1) if loss is None else loss
    if isinstance(loss, type) or not callable(loss):
        hint = f"{loss.__name__}()" if isinstance(loss, type) else "snn.functional.ce_rate_loss()"
        raise TypeError(
            f"loss must be a function of (spk [T, B, N], labels [B]), got {loss!r}; write "
            f"loss={hint}"
        )
    name = name_of(loss)
    if isinstance(loss, (mse_membrane_loss, ce_max_membrane_loss)):
        return Readout(
            loss, "mem", lambda mem: mem.max(0).values.argmax(-1), "the highest membrane", name
        )
    if isinstance(loss, (ce_temporal_loss, mse_temporal_loss)):
        return Readout(
            loss, "spk", lambda spk: first_spike(spk).min(-1).indices, "the first spike", name
        )
    if getattr(loss, "population_code", False):
        classes = int(getattr(loss, "num_classes", 0))
        return Readout(
            loss,
            "spk",
            lambda spk: population_vote(spk, classes),
            "most spikes of a group",
            name,
            classes,
        )
    return Readout(loss, "spk", lambda spk: spk.sum(0).argmax(-1), "most spikes", name)


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
