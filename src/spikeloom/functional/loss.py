"""Losses of spike trains and membranes against class labels.

Each is built from its settings and called as ``loss(spk_out, targets)`` with [T, B, N] and [B].
With a population code, contiguous groups of N / C outputs represent the C classes. A call raises
TypeError or ValueError for other kinds or shapes, for NaN and infinity, for labels outside [0, C),
and for N no multiple of C.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..core.numbers import flag, real, whole
from ..decode import groups, population_counts
from .loss_base import LossFunctions, check_labels, one_hot, weighted
from .loss_temporal import SpikeTime, ce_temporal_loss, mse_temporal_loss

__all__ = [
    "LossFunctions",
    "SpikeTime",
    "ce_count_loss",
    "ce_max_membrane_loss",
    "ce_rate_loss",
    "ce_temporal_loss",
    "mse_count_loss",
    "mse_membrane_loss",
    "mse_rate_loss",
    "mse_temporal_loss",
]


class _Classification(LossFunctions):
    """A loss of labels [B] that may read a population code."""

    def __init__(
        self,
        population_code: bool = False,
        num_classes: int | bool = False,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction, weight)
        self.population_code = flag("population_code", population_code)
        if num_classes is not False:
            whole("num_classes", num_classes)
        self.num_classes = num_classes

    def _counts(self, spk_out: Tensor) -> Tensor:
        """Spike counts of the classes, [B, C]."""
        if self.population_code:
            return population_counts(spk_out, self.num_classes)
        return spk_out.sum(0)

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        labels = check_labels(targets, logits.shape[:1], logits.shape[-1], self.__name__)
        return weighted(cross_entropy(logits, labels, reduction="none"), labels, self.weight)


class ce_rate_loss(_Classification):
    """Cross entropy at every step, averaged over time: ``1/T sum_t CE(spk[t], targets)``.

    Args:
        population_code: whether groups of outputs represent the classes; the mean of a group is its
            logit.
        num_classes: C, required for a population code.
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class.

    Returns:
        Callable; its result has shape (1,), or () with ``weight``, or [B] for ``reduction="none"``
        (as in snnTorch).

    >>> ce_rate_loss()(torch.zeros(5, 2, 10), torch.tensor([3, 1]))
    tensor([2.3026])
    """

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        logits = spk_out  # [T, B, C]
        if self.population_code:
            logits = groups(spk_out, self.num_classes).mean(-1)
        labels = check_labels(targets, logits.shape[1:2], logits.shape[-1], self.__name__)
        losses = cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
        return weighted(losses.reshape(len(logits), -1).mean(0), labels, self.weight)

    def _reduce(self, loss: Tensor) -> Tensor:
        return _one_element(super()._reduce(loss), self.weight)


class ce_count_loss(_Classification):
    """Cross entropy of the spike counts: ``CE(sum_t spk[t], targets)``.

    Args:
        population_code: whether groups of outputs represent the classes; the sum of a group is its
            logit.
        num_classes: C, required for a population code.
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class.

    Returns:
        Callable; its result has shape (), or [B] for ``reduction="none"``.

    >>> ce_count_loss()(torch.zeros(5, 2, 10), torch.tensor([3, 1]))
    tensor(2.3026)
    """

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        return self._cross_entropy(self._counts(spk_out), targets)


class ce_max_membrane_loss(_Classification):
    """Cross entropy of the highest membrane of each output: ``CE(max_t mem[t], targets)``.

    Args:
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class.

    Returns:
        Callable; its result has shape (), or [B] for ``reduction="none"``.

    >>> ce_max_membrane_loss()(torch.zeros(5, 2, 10), torch.tensor([3, 1]))
    tensor(2.3026)
    """

    def __init__(self, reduction: str = "mean", weight: Tensor | None = None) -> None:
        super().__init__(reduction=reduction, weight=weight)

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        return self._cross_entropy(spk_out.max(0).values, targets)


class mse_count_loss(_Classification):
    """Squared error of the spike counts per step: ``MSE(sum_t spk[t], target) / T``.

    The target count is ``int(T * correct_rate)`` for the class and ``int(T * incorrect_rate)`` for
    the others (truncated, not rounded, as in snnTorch); with a population code the product includes
    N / C neurons.

    Args:
        correct_rate: target rate of the class, in spikes per step.
        incorrect_rate: target rate of the other classes.
        population_code: whether groups of outputs represent the classes.
        num_classes: C, required for a population code.
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class, applied to all errors of a sample of that class.

    Returns:
        Callable; its result has shape (), or [B, C] for ``reduction="none"``.

    >>> mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)(
    ...     torch.zeros(10, 1, 2), torch.tensor([1])
    ... )
    tensor(3.4000)
    """

    def __init__(
        self,
        correct_rate: float = 1,
        incorrect_rate: float = 0,
        population_code: bool = False,
        num_classes: int | bool = False,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(population_code, num_classes, reduction, weight)
        real("correct_rate", correct_rate)
        real("incorrect_rate", incorrect_rate, example=0.0)
        self.correct_rate = correct_rate
        self.incorrect_rate = incorrect_rate

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        counts = self._counts(spk_out)  # [B, C]
        neurons = spk_out.shape[-1] / counts.shape[-1] if self.population_code else 1
        labels = check_labels(targets, counts.shape[:1], counts.shape[-1], self.__name__)
        on = int(len(spk_out) * self.correct_rate * neurons)
        off = int(len(spk_out) * self.incorrect_rate * neurons)
        error = (counts - _wanted(labels, counts.shape[-1], on, off)) ** 2
        return weighted(error, labels, self.weight) / len(spk_out)


class mse_rate_loss(LossFunctions):
    """Half the squared error of the rates: ``1/2 sum_i (y_i - 1/T sum_t spk[t, i])^2``.

    The target y is 1 for the class and 0 for the others.

    Args:
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class.

    Returns:
        Callable; its result has shape (), or [B] for ``reduction="none"``.

    Source: Wu et al. (2018), Front. Neurosci. 12:331, the loss of STBP. Not in snnTorch.

    >>> mse_rate_loss()(torch.ones(4, 1, 3), torch.tensor([1]))
    tensor(1.)
    """

    def __init__(self, reduction: str = "mean", weight: Tensor | None = None) -> None:
        super().__init__(reduction, weight)

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        rates = spk_out.mean(0)
        labels = check_labels(targets, rates.shape[:1], rates.shape[-1], self.__name__)
        error = (rates - _wanted(labels, rates.shape[-1], 1, 0)) ** 2
        return weighted(error.sum(-1) / 2, labels, self.weight)


class mse_membrane_loss(LossFunctions):
    """Squared error of the membranes at every step, averaged over time.

    Args:
        time_var_targets: whether the labels change over time; their shape is then [T, B].
        on_target: target membrane of the class.
        off_target: target membrane of the other classes.
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class, applied to all errors of a sample of that class.

    Returns:
        Callable; its result has shape (1,), or () with ``weight``, or [B, C] for
        ``reduction="none"`` (as in snnTorch).

    >>> mse_membrane_loss(on_target=1.0)(torch.zeros(5, 1, 2), torch.tensor([1]))
    tensor([0.5000])
    """

    def __init__(
        self,
        time_var_targets: bool = False,
        on_target: float = 1,
        off_target: float = 0,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction, weight)
        real("on_target", on_target)
        real("off_target", off_target, example=0.0)
        self.time_var_targets = flag("time_var_targets", time_var_targets)
        self.on_target = on_target
        self.off_target = off_target

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        num_classes = spk_out.shape[-1]
        shape = spk_out.shape[:2] if self.time_var_targets else spk_out.shape[1:2]
        labels = check_labels(targets, shape, num_classes, self.__name__)
        wanted = _wanted(labels, num_classes, self.on_target, self.off_target)
        error = (spk_out - wanted) ** 2  # [T, B, C]
        if self.time_var_targets:
            return weighted(error, labels, self.weight).mean(0)
        return weighted(error.mean(0), labels, self.weight)

    def _reduce(self, loss: Tensor) -> Tensor:
        return _one_element(super()._reduce(loss), self.weight)


def _wanted(labels: Tensor, num_classes: int, on: float, off: float) -> Tensor:
    hot = one_hot(labels, num_classes)
    return torch.where(hot, float(on), float(off))


def _one_element(loss: Tensor, weight: Tensor | None) -> Tensor:
    """Reshapes an unweighted number to (1,), as snnTorch does."""
    return loss.reshape(1) if loss.dim() == 0 and weight is None else loss
