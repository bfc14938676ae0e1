"""Data sets that are divided into training and test samples."""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..core.numbers import whole

__all__ = ["Split", "disjoint", "stratified"]


class Split(NamedTuple):
    """A data set that is already divided into training and test samples.

    Attributes:
        x_train: training samples, [N, ...], float in [0, 1].
        y_train: their classes, [N], int64 from 0.
        x_test: test samples, [M, ...].
        y_test: their classes, [M].
        name: short name of the data set, used in run cards.
        description: the data and their division, in a sentence or two.
        classes: names of the classes, in the order of their numbers; empty if they have none.

    >>> import torch
    >>> x, y = torch.zeros(4, 4), torch.tensor([0, 1, 1, 0])
    >>> Split(x[:3], y[:3], x[3:], y[3:], "toy", "zeros")
    Split(toy: 3 training and 1 test samples of shape [4], 2 classes)
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    description: str
    classes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes: the largest label plus one."""
        return int(self.y_train.max()) + 1

    def __repr__(self) -> str:
        return (
            f"Split({self.name}: {len(self.x_train)} training and {len(self.x_test)} test samples "
            f"of shape {list(self.x_train.shape[1:])}, {self.num_classes} classes)"
        )


def stratified(labels: np.ndarray, num_test: int, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and test samples, with the same proportion of every class.

    The order is that of the raw output of PCG64, which is the same in all versions of NumPy, unlike
    ``Generator.permutation``. The shares of the classes are rounded by largest remainder, so that
    there are exactly ``num_test`` test samples.

    Args:
        labels: class of each sample, [N].
        num_test: number of test samples.
        number: index of the division; each index gives a fixed division.

    Returns:
        Training indices [N - num_test] and test indices [num_test], both in random order.

    Raises:
        TypeError: ``labels`` is not an array [N] of classes, or a number is not an integer.
        ValueError: ``num_test`` exceeds the number of samples, or a number is negative.

    >>> train, test = stratified(np.array([0, 0, 0, 0, 1, 1]), num_test=3)
    >>> sorted(train.tolist() + test.tolist()), int(np.array([0, 0, 0, 0, 1, 1])[test].sum())
    ([0, 1, 2, 3, 4, 5], 1)
    """
    if (
        not isinstance(labels, np.ndarray)
        or labels.ndim != 1
        or labels.dtype.kind not in "iuf"
        or not len(labels)
    ):
        raise TypeError(
            f"labels must be an array of classes [N], got {type(labels).__name__} of shape "
            f"{np.shape(labels)}; write np.array([0, 1, 1])"
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("labels must be finite, got NaN or infinity; write whole numbers")
    num_test = whole("num_test", num_test, 0, len(labels))
    number = whole("number", number)
    raw = np.random.PCG64(number).random_raw(2 * len(labels)).reshape(2, -1)
    choice, order = np.argsort(raw, axis=1, kind="stable")
    classes, counts = np.unique(labels, return_counts=True)
    quota = counts * num_test / len(labels)
    share = np.floor(quota).astype(int)
    share[np.argsort(share - quota, kind="stable")[: num_test - share.sum()]] += 1
    is_test = np.zeros(len(labels), dtype=bool)
    for label, count in zip(classes, share, strict=True):
        is_test[choice[labels[choice] == label][:count]] = True
    return order[~is_test[order]], order[is_test[order]]


def disjoint(groups: Any, num_test: int, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and test samples that have no group in common, such as a speaker.

    Args:
        groups: group of each sample, [N]: numbers or names.
        num_test: number of groups, not samples, in the test part.
        number: index of the division; each index gives a fixed division.

    Returns:
        Training and test indices, each in the order of the samples.

    Raises:
        TypeError: ``groups`` is not one number or name for each sample.
        ValueError: no group is left for training or test, or ``number`` is negative.

    >>> train, test = disjoint(["ann", "bob", "ann", "eve"], num_test=1)
    >>> train.tolist(), test.tolist()
    ([0, 1, 2], [3])
    """
    names = np.asarray(groups)
    if names.ndim != 1 or names.dtype.kind not in "iuUS" or not len(names):
        raise TypeError(
            "groups must be one number or name for each sample, got "
            f"{names.dtype} of shape {names.shape}; write ['ann', 'bob', 'ann']"
        )
    known = np.unique(names)
    num_test = whole("num_test", num_test, 1, len(known) - 1)
    raw = np.random.PCG64(whole("number", number)).random_raw(len(known))
    chosen = known[np.argsort(raw, kind="stable")[:num_test]]
    is_test = np.isin(names, chosen)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)
