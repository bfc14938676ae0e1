"""Accuracies: the share of samples whose class the output spikes name.

They return ``numpy.float64``, as in snnTorch, so that both ``float(acc)`` and ``acc.item()`` work.
"""

from typing import Any

import numpy as np
from torch import Tensor

from ..core.lengths import by_length, checked_lengths, cut
from ..core.numbers import flag, whole
from ..decode import first_spike, population_vote
from .loss_base import LossFunctions, check_count, check_labels, check_outputs

__all__ = ["accuracy_rate", "accuracy_temporal"]

_prediction_check = LossFunctions._prediction_check  # scripts import both from here
_population_code = LossFunctions._population_code


def accuracy_rate(
    spk_out: Tensor,
    targets: Tensor,
    population_code: bool = False,
    num_classes: int | bool = False,
    *,
    lengths: Any = None,
) -> np.float64:
    """Share of samples whose class fires most; the lower class wins a tie.

    Args:
        spk_out: spikes of the output layer, [T, B, N].
        targets: class labels, [B].
        population_code: whether contiguous groups of N / C outputs represent the classes.
        num_classes: C, required for a population code.
        lengths: steps of each sample that count, [B]. Default: all.

    Returns:
        Share in [0, 1].

    Raises:
        TypeError: no tensors.
        ValueError: wrong shapes, NaN or infinity, labels outside [0, C), or N no multiple of C.

    >>> spk = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    >>> float(accuracy_rate(spk, torch.tensor([1, 1])))
    0.5
    """
    check_outputs(spk_out, "accuracy_rate")
    classes = num_classes if flag("population_code", population_code) else spk_out.shape[-1]
    if num_classes is not False:
        whole("num_classes", num_classes)
    if lengths is not None:
        spk_out = cut(
            spk_out, checked_lengths(lengths, len(spk_out), spk_out.shape[1], spk_out.device)
        )
    winner = population_vote(spk_out, classes)
    return _share(winner, check_labels(targets, winner.shape, classes, "accuracy_rate"))


def accuracy_temporal(spk_out: Tensor, targets: Tensor, *, lengths: Any = None) -> np.float64:
    """Share of samples whose class fires first; the lower class wins a tie.

    A silent output counts as firing at the last step, T - 1 or that of the sample.

    Args:
        spk_out: spikes of the output layer, [T, B, N]; any non-zero value counts as a spike.
        targets: class labels, [B].
        lengths: steps of each sample that count, [B]. Default: all.

    Returns:
        Share in [0, 1].

    Raises:
        TypeError: no tensors.
        ValueError: wrong shapes, NaN or infinity, or labels outside [0, N).

    >>> spk = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
    >>> float(accuracy_temporal(spk, torch.tensor([1])))
    1.0
    """
    check_outputs(spk_out, "accuracy_temporal")
    winner = _earliest(spk_out)
    if lengths is not None:
        ends = checked_lengths(lengths, len(spk_out), spk_out.shape[1], spk_out.device)
        check_count(targets, spk_out, "accuracy_temporal")
        winner = by_length(lambda spk, _: _earliest(spk), spk_out, targets, ends)
    return _share(
        winner, check_labels(targets, winner.shape, spk_out.shape[-1], "accuracy_temporal")
    )


def _earliest(spk_out: Tensor) -> Tensor:
    return first_spike(spk_out, never=len(spk_out) - 1).min(-1).indices


def _share(winner: Tensor, labels: Tensor) -> np.float64:
    return np.mean((winner == labels).cpu().numpy(), dtype=np.float64)
