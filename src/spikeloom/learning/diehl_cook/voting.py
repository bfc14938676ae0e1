"""From spike counts to classes: the class of each neuron, and how neurons vote.

Labels are used here and nowhere else in the network: they name neurons that have learned without
them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...core import checks

__all__ = ["VOTES", "Naming", "named", "votes"]

VOTES = ("all", "proportion")


class Naming(NamedTuple):
    """What the neurons stand for.

    >>> naming = named(torch.tensor([[4.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
    >>> naming.labels
    tensor([0, 1])
    """

    labels: Tensor  # [N] class to which each neuron responds most, -1 for a neuron that never fired
    proportions: Tensor  # [N, classes] share of each class in the mean responses of a neuron


def named(counts: Tensor, y: Tensor) -> Naming:
    """Name each neuron after the class to which it responds most.

    Args:
        counts: spikes of each neuron for each sample, [samples, N].
        y: classes of the samples, whole numbers from 0.

    Raises:
        TypeError: the classes are no whole numbers.
        ValueError: a class is negative, or there is not one class for each sample.
    """
    if not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool:
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(
            f"y must hold classes as whole numbers, got {kind}; write torch.as_tensor(y).long()"
        )
    if y.shape != counts.shape[:1] or not len(y):
        raise ValueError(
            f"y must hold one class for each of {len(counts)} samples, got shape {tuple(y.shape)}"
        )
    checks.in_range("y", y, 0, float("inf"), why="it holds classes, counted from 0")
    y = y.long().to(counts.device)
    classes = int(y.max()) + 1
    sums = torch.zeros(classes, counts.shape[1], dtype=torch.float64, device=counts.device)
    sums.index_add_(0, y, counts.double())
    rates = sums / torch.bincount(y, minlength=classes).clamp(min=1).unsqueeze(
        1
    )  # classes may be of unequal size
    total = rates.sum(0)
    best = rates.argmax(0)
    return Naming(
        best.masked_fill(total == 0, -1), (rates / total.masked_fill(total == 0, 1)).T.contiguous()
    )


def votes(counts: Tensor, naming: Naming, vote: str) -> Tensor:
    """Class for each sample; -1 where no neuron with a name has fired.

    Args:
        counts: spikes of each neuron, [samples, N].
        naming: what the neurons stand for.
        vote: ``"all"``: the class with the highest mean count over its neurons; ``"proportion"``:
            each spike counts for all classes, in the proportions of its neuron's responses.

    Raises:
        ValueError: another word for ``vote``.

    >>> naming = Naming(torch.tensor([0, 2, 2]), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]]))
    >>> counts = torch.tensor([[2.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    >>> votes(counts, naming, "all"), votes(counts, naming, "proportion")  # class 1 has no neuron
    (tensor([ 0, -1]), tensor([ 2, -1]))
    """
    checks.choice("vote", vote, VOTES)
    counts = counts.double()
    classes = naming.proportions.shape[1]
    if vote == "proportion":
        scores = counts @ naming.proportions.double()
    else:
        member = torch.nn.functional.one_hot(naming.labels.clamp(min=0), classes).double()
        member = member * (naming.labels >= 0).unsqueeze(1)
        size = member.sum(0)
        scores = (counts @ member / size.clamp(min=1)).masked_fill(size == 0, -1.0)
    best, winner = scores.max(1)
    return winner.masked_fill(best <= 0, -1)
