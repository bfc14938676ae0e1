"""Class labels as one-hot vectors and back."""

import torch
from torch import Tensor

from ..core.numbers import blank, tensor, whole
from .input_checks import intensities

__all__ = ["from_one_hot", "to_one_hot", "to_one_hot_inverse"]


def to_one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """One-hot vectors of class labels.

    Args:
        targets: whole numbers in [0, ``num_classes``), any shape.
        num_classes: length C of the vectors.

    Returns:
        [*targets.shape, C] of 0 and 1 in torch's default dtype, on the device of ``targets``.

    Raises:
        TypeError: ``targets`` are not whole numbers.
        ValueError: a label is out of range.

    >>> to_one_hot(torch.tensor([0, 2]), 3)
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    tensor("targets", targets)
    num_classes = whole("num_classes", num_classes, 1, 2**62)
    if targets.is_complex():
        raise TypeError(
            f"targets must be class labels (whole numbers), got {targets.dtype}; write integer "
            "labels"
        )
    labels = targets.long()
    if targets.is_floating_point() and bool((labels != targets).any()):
        raise TypeError(
            "targets must be class labels (whole numbers), got fractions or NaN; write integer "
            "labels"
        )
    if labels.numel() and not (labels.min() >= 0 and labels.max() < num_classes):
        outside = labels[(labels < 0) | (labels >= num_classes)].flatten()[0].item()
        raise ValueError(
            f"targets must be in [0, {num_classes - 1}] for num_classes={num_classes}, got "
            f"{outside}; write labels that count from 0, or a larger num_classes"
        )
    one_hot = blank("vectors", labels, *labels.shape, num_classes, dtype=torch.get_default_dtype())
    return one_hot.scatter(-1, labels.unsqueeze(-1), 1)


def to_one_hot_inverse(one_hot_targets: Tensor) -> Tensor:
    """1 where the input is 0, and 0 elsewhere.

    Args:
        one_hot_targets: any shape.

    Returns:
        The shape and dtype of the input.

    Raises:
        TypeError: not a tensor.
        ValueError: NaN or infinity.

    >>> to_one_hot_inverse(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[0., 1., 1.]])
    """
    tensor("one_hot_targets", one_hot_targets)
    if one_hot_targets.is_floating_point():
        intensities(one_hot_targets, "one_hot_targets")
    return (one_hot_targets == 0).to(one_hot_targets.dtype)


def from_one_hot(one_hot_label: Tensor) -> Tensor:
    """Class labels of one-hot vectors: the inverse of `to_one_hot`.

    Args:
        one_hot_label: [..., C], exactly one 1 in each vector, 0 elsewhere.

    Returns:
        [...] of torch.int64.

    Raises:
        TypeError: not a tensor.
        ValueError: a vector is not one-hot.

    snnTorch returns the index of the row instead of the class.

    >>> from_one_hot(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    tensor([2, 0])
    """
    if not tensor("one_hot_label", one_hot_label).dim():
        raise ValueError(
            "from_one_hot expects vectors [..., C], got a tensor of shape (); write x.reshape(1)"
        )
    hot = one_hot_label == 1
    if not bool(((hot.sum(-1) == 1) & ((one_hot_label != 0).sum(-1) == 1)).all()):
        raise ValueError(
            "from_one_hot expects one 1 and zeros along the last axis, got "
            f"{tuple(one_hot_label.shape)} with others; write x.argmax(-1) for scores"
        )
    return hot.to(torch.uint8).argmax(-1)
