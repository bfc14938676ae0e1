"""Metrics for `fit` and `evaluate`: functions of scores and targets."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.numbers import whole

__all__ = ["confusion", "macro_f1", "top_k"]


def top_k(k: int) -> Callable[[Tensor, Tensor], float]:
    """A metric: the share of samples whose class is among the ``k`` highest scores.

    Args:
        k: number of classes, at least 1.

    >>> scores = torch.tensor([[0.0, 2.0, 3.0], [5.0, 1.0, 0.0]])
    >>> top_k(2)(scores, torch.tensor([1, 2]))
    0.5
    """
    whole("k", k, 1)

    def share(scores: Tensor, targets: Tensor) -> float:
        chosen = scores.topk(min(k, scores.shape[-1]), dim=-1).indices
        return float((chosen == targets.unsqueeze(-1)).any(-1).float().mean())

    share.__qualname__ = f"top_k({k})"
    return share


def macro_f1(scores: Tensor, targets: Tensor) -> float:
    """A metric: the mean of the F1 scores of the classes that occur.

    Args:
        scores: one number for each class, [N, C]; the highest one is the prediction.
        targets: classes, [N].

    >>> macro_f1(torch.eye(3), torch.tensor([0, 1, 1]))
    0.5555555820465088
    """
    table = confusion(scores, targets).float()
    found, wanted = table.sum(0), table.sum(1)
    occurs = (found + wanted) > 0
    return float((2 * table.diagonal() / (found + wanted).clamp(min=1))[occurs].mean())


def confusion(scores: Tensor, targets: Tensor) -> Tensor:
    """How often each class was taken for which.

    Args:
        scores: one number for each class, [N, C]; the highest one is the prediction.
        targets: classes, [N].

    Returns:
        [C, C], int64: the row is the target, the column the prediction.

    >>> confusion(torch.eye(2), torch.tensor([0, 0]))
    tensor([[1, 1],
            [0, 0]])
    """
    classes = scores.shape[-1]
    pairs = targets * classes + scores.argmax(-1)
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
