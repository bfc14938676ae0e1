"""The base of the losses: checks, class weights and the reduction.

A loss is built once from its settings and then called as ``loss(spk_out, targets)`` with
``spk_out`` ``[T, B, N]`` (spikes or membranes). Half precision is computed in float32.
"""

from typing import Any

import torch
from torch import Tensor

from ..core.checks import choice, finite, transformed
from ..core.lengths import by_length, checked_lengths
from ..core.numbers import tensor
from ..decode import population_counts

__all__ = ["LossFunctions", "check_labels", "check_outputs", "one_hot", "weighted"]


class LossFunctions:
    """Base of the losses: a subclass computes the loss of each sample, this class reduces it.

    Class weights multiply each sample's loss; "mean" is then the plain mean, not divided by the sum
    of the weights (as in snnTorch).

    Args:
        reduction: "mean", "sum" or "none".
        weight: [C], one factor per class, or None.

    Raises:
        TypeError: ``weight`` does not hold real numbers.
        ValueError: another ``reduction``, or a ``weight`` with another shape, NaN or infinity.

    >>> class last_step_loss(LossFunctions):
    ...     def _compute_loss(self, spk_out, targets):
    ...         return (spk_out[-1].sum(-1) - targets) ** 2
    >>> last_step_loss("mean", None)(torch.ones(5, 2, 3), torch.tensor([3, 1]))
    tensor(2.)
    """

    def __init__(self, reduction: str, weight: Tensor | None) -> None:
        self.reduction = choice("reduction", reduction, ["mean", "sum", "none"])
        self.weight = _checked_weight(weight)
        self.__name__ = type(self).__name__

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_")
        )
        return f"{self.__name__}({settings})"

    def __call__(self, spk_out: Tensor, targets: Tensor, lengths: Any = None) -> Tensor:
        """Return the loss of outputs [T, B, N]; ``lengths``, [B], are their steps that count."""
        check_outputs(spk_out, self.__name__)
        exact = spk_out if spk_out.dtype in (torch.float32, torch.float64) else spk_out.float()
        if lengths is None:
            return self._reduce(self._compute_loss(exact, targets))
        if getattr(self, "time_var_targets", False):
            raise ValueError(
                f"{self.__name__}: lengths are for one target a sample, got time_var_targets=True; "
                "write one call for each sample"
            )
        ends = checked_lengths(lengths, len(spk_out), spk_out.shape[1], spk_out.device)
        check_count(targets, spk_out, self.__name__)
        return self._reduce(self._compute_by_length(exact, targets, ends))

    @staticmethod
    def _prediction_check(spk_out: Tensor) -> tuple[torch.device, int, int]:
        """Device, number of steps and number of outputs, as snnTorch's method."""
        return spk_out.device, len(spk_out), spk_out.shape[-1]

    @staticmethod
    def _population_code(spk_out: Tensor, num_classes: int, num_outputs: int) -> Tensor:
        """Spikes of each class among the first ``num_outputs``, [B, C], as snnTorch's method."""
        return population_counts(spk_out[..., :num_outputs], num_classes)

    def _intermediate_reduction(self) -> str:
        """Reduction for a loss of torch that class weights may still multiply."""
        return self.reduction if self.weight is None else "none"

    def _compute_by_length(self, spk_out: Tensor, targets: Tensor, ends: Tensor) -> Tensor:
        return by_length(self._compute_loss, spk_out, targets, ends)

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError(f"{self.__name__} must define _compute_loss(spk_out, targets)")

    def _reduce(self, loss: Tensor) -> Tensor:
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()


def _checked_weight(weight: Any) -> Any:
    """Returns class weights unchanged if they are finite real numbers, one per class."""
    if weight is None:
        return None
    try:
        numbers = torch.as_tensor(weight)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"weight must hold one number per class, got {type(weight).__name__}; write "
            "torch.ones(num_classes)"
        ) from error
    tensor("weight", numbers)
    if numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(
            f"weight must hold real numbers, got {numbers.dtype}; write torch.ones(num_classes)"
        )
    if numbers.dim() != 1 or not numbers.numel():
        raise ValueError(
            f"weight must hold one number per class, got shape {tuple(numbers.shape)}; write a "
            "tensor of num_classes numbers"
        )
    if numbers.device.type != "meta" and not bool(numbers.isfinite().all()):
        raise ValueError(
            "weight must be finite, got NaN or infinity; write one finite number per class"
        )
    return weight


def check_outputs(spk_out: Any, who: str) -> None:
    """Checks that ``spk_out`` is a finite tensor [T, B, N] with T, B, N > 0.

    Args:
        spk_out: the output of a network.
        who: name of the caller in the message.

    Raises:
        TypeError: a list or tuple, or complex numbers.
        ValueError: another number of axes, no step, no sample, no output, or values that are not
            finite.

    >>> check_outputs(torch.zeros(5, 2, 3), "accuracy_rate")
    """
    if not isinstance(spk_out, Tensor):
        hint = (
            "torch.stack(spk_rec)"
            if isinstance(spk_out, list)
            else "the spikes alone, e.g. spk, mem = net(x)"
        )
        raise TypeError(
            f"{who} expects outputs as a tensor [T, B, N], got {type(spk_out).__name__}; write "
            f"{hint}"
        )
    if spk_out.dim() != 3 or len(spk_out) == 0:
        hint = (
            "spk.unsqueeze(0) for one step [B, N]"
            if spk_out.dim() == 2
            else "spk.flatten(2) for further axes"
        )
        raise ValueError(
            f"{who} expects outputs [T, B, N] with T > 0, got {tuple(spk_out.shape)}; write {hint}"
        )
    if not spk_out.numel():
        raise ValueError(
            f"{who} expects at least one sample and one output, got {tuple(spk_out.shape)}; leave "
            "empty batches out"
        )
    if spk_out.is_complex():
        raise TypeError(f"{who} expects real outputs, got {spk_out.dtype}; write spk.real")
    # A check of values breaks the graph.
    if spk_out.is_floating_point() and not torch.compiler.is_compiling():
        finite(spk_out, f"{who}: the output")


def check_count(targets: Any, spk_out: Tensor, who: str) -> None:
    """Checks that there is one target for each sample, before samples are chosen by their length.

    Raises:
        TypeError: not a tensor.
        ValueError: another number of targets.

    >>> check_count(torch.zeros(2), torch.zeros(5, 2, 3), "ce_rate_loss")
    """
    count = len(tensor("targets", targets)) if targets.dim() else 0
    if count != spk_out.shape[1]:
        raise ValueError(
            f"{who} expects one target for each of {spk_out.shape[1]} samples, got shape "
            f"{tuple(targets.shape)}"
        )


def check_labels(targets: Any, shape: torch.Size, num_classes: int, who: str) -> Tensor:
    """Returns class labels as torch.int64.

    Args:
        targets: whole numbers in [0, ``num_classes``), one per sample.
        shape: the shape they must have.
        num_classes: C.
        who: name of the caller in the message.

    Raises:
        TypeError: not a tensor, or fractions.
        ValueError: another shape, or a label out of range.

    >>> check_labels(torch.tensor([0.0, 2.0]), torch.Size([2]), 3, "ce_rate_loss")
    tensor([0, 2])
    """
    if not isinstance(targets, Tensor):
        kind = type(targets).__name__
        raise TypeError(
            f"{who} expects targets as a tensor, got {kind}; write torch.as_tensor(targets)"
        )
    if targets.shape != shape:
        came = tuple(targets.shape)
        hint = (
            "targets.argmax(-1) for one-hot targets"
            if len(came) > len(shape)
            else "outputs as [T, B, N]: snn.run(net, x, num_steps=...) of samples [B, ...], "
            "snn.run(net, x.transpose(0, 1)) of sequences [B, T, ...]"
        )
        raise ValueError(
            f"{who} expects class labels of shape {tuple(shape)}, got {came}; write {hint}"
        )
    if targets.is_complex():
        raise TypeError(
            f"{who} expects class labels (whole numbers), got {targets.dtype}; write integer labels"
        )
    labels = targets.long()
    if torch.compiler.is_compiling() or transformed():  # values cannot be read
        return labels
    if targets.is_floating_point() and bool((labels != targets).any()):
        found = "NaN" if bool(targets.isnan().any()) else "fractions"
        raise TypeError(
            f"{who} expects class labels (whole numbers), got {found}; write integer labels"
        )
    if labels.numel() and not (labels.min() >= 0 and labels.max() < num_classes):
        outside = labels[(labels < 0) | (labels >= num_classes)].flatten()[0].item()
        raise ValueError(
            f"{who} expects class labels in [0, {num_classes - 1}] for {num_classes} classes, got "
            f"{outside}; write labels that count from 0, or an output layer with more classes"
        )
    return labels


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """One-hot mask of labels, [*labels.shape, C] of bool; unlike torch's, it reads no value.

    >>> one_hot(torch.tensor([1]), 3)
    tensor([[False,  True, False]])
    """
    return labels.unsqueeze(-1) == torch.arange(num_classes, device=labels.device)


def weighted(loss: Tensor, labels: Tensor, weight: Any) -> Tensor:
    """Multiplies the loss of each sample by the weight of its class.

    Args:
        loss: [*labels.shape, ...].
        labels: class of each sample.
        weight: [C], or None for no weights.

    Raises:
        ValueError: a label has no weight.

    >>> weighted(torch.ones(2, 1), torch.tensor([1, 0]), torch.tensor([1.0, 3.0]))
    tensor([[3.],
            [1.]])
    """
    if weight is None:
        return loss
    factors = torch.as_tensor(weight, dtype=loss.dtype, device=loss.device)
    checked = labels.numel() and not torch.compiler.is_compiling() and not transformed()
    if checked and int(labels.max()) >= len(factors):
        raise ValueError(
            f"weight must hold one number per class, got shape {tuple(factors.shape)} for a label "
            f"{int(labels.max())}; write a tensor of num_classes numbers"
        )
    chosen = factors[labels]
    return loss * chosen.reshape(*chosen.shape, *[1] * (loss.dim() - chosen.dim()))
