"""What BP-STDP compares: output spikes of a short window with desired ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.numbers import tensor, whole

__all__ = ["SpikeError", "check_numbers", "desired_spikes", "spike_errors", "window_counts"]


def desired_spikes(num_steps: int, interval: int = 4) -> Tensor:
    """A regular desired spike train: every ``interval`` steps, from step ``interval`` on.

    Args:
        num_steps: T.
        interval: steps from spike to spike; 4 ms is the published rate of 250 Hz.

    Returns:
        [T], True where a spike is desired.

    Raises:
        ValueError: there is room for no spike.

    >>> desired_spikes(9, 4).int()
    tensor([0, 0, 0, 1, 0, 0, 0, 1, 0], dtype=torch.int32)
    """
    num_steps = whole("num_steps", num_steps, 1, 2**30)
    interval = whole("interval", interval, 1)
    if interval > num_steps:
        raise ValueError(
            f"a desired spike every {interval} steps needs 1 <= interval <= T = {num_steps}; "
            f"write interval={num_steps}"
        )
    return (torch.arange(1, num_steps + 1) % interval) == 0


def window_counts(spk: Tensor, epsilon: int) -> Tensor:
    """Spikes in [t - epsilon, t], for every t.

    Args:
        spk: spikes, [T, ...].
        epsilon: steps before t that count, from 0.

    Returns:
        [T, ...], in the dtype of ``spk``.

    >>> window_counts(torch.tensor([1.0, 0.0, 1.0, 1.0]), epsilon=1)
    tensor([1., 1., 1., 2.])
    """
    counts = spk.cumsum(0)
    if epsilon + 1 >= len(spk):
        return counts
    return torch.cat([counts[: epsilon + 1], counts[epsilon + 1 :] - counts[: -epsilon - 1]])


def class_labels(labels: Tensor, samples: int, classes: int) -> Tensor:
    """Return labels [B] as int64 if they are classes.

    Args:
        labels: what the user passed.
        samples: B.
        classes: number of outputs.

    Raises:
        TypeError: they are no whole numbers.
        ValueError: they are not [B], or there is a class without output.

    >>> class_labels(torch.tensor([1, 0]), 2, 2)
    tensor([1, 0])
    """
    whole_numbers = not (tensor("labels", labels).is_floating_point() or labels.is_complex())
    if not whole_numbers or labels.dtype == torch.bool:
        raise TypeError(f"labels must be whole numbers, got {labels.dtype}; write labels.long()")
    if labels.shape != (samples,):
        raise ValueError(
            f"labels must be one class a sample, [{samples}], got {tuple(labels.shape)}"
        )
    if labels.numel() and not (labels.min() >= 0 and labels.max() < classes):
        outside = int(labels[(labels < 0) | (labels >= classes)][0])
        raise ValueError(
            f"classes count from 0 to {classes - 1} for {classes} outputs, got {outside}; "
            "write an output layer with more neurons, or other labels"
        )
    return labels.long()


def spike_errors(counts: Tensor, labels: Tensor) -> Tensor:
    """xi: 1 where the class neuron was silent, -1 where another one fired, else 0.

    Args:
        counts: spikes of the outputs in the window, [..., B, C].
        labels: classes, [B].

    Raises:
        ValueError: a class without output.

    >>> spike_errors(torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 0]))
    tensor([[ 1., -1.],
            [ 0.,  0.]])
    """
    classes = counts.shape[-1]
    labels = class_labels(labels, len(labels), classes)
    return torch.nn.functional.one_hot(labels, classes).to(counts.dtype) - (counts > 0).to(
        counts.dtype
    )


@dataclass(frozen=True)
class SpikeError:
    """The error of BP-STDP as a loss, the mean of ``(1/T sum_t sum_i xi_i[t])^2``; no gradient.

    Errors of opposite sign cancel, as published: look at the accuracy too.

    Args:
        epsilon: window of the spikes, in steps.
        interval: steps between desired spikes.

    >>> SpikeError(epsilon=1, interval=2)(torch.zeros(4, 1, 2), torch.tensor([0]))
    tensor(0.2500)
    """

    epsilon: int = 4
    interval: int = 4

    def __post_init__(self) -> None:
        check_numbers(self.epsilon, self.interval)

    def __call__(self, spk: Tensor, labels: Tensor) -> Tensor:
        wanted = desired_spikes(len(spk), self.interval).to(spk.device)
        xi = spike_errors(window_counts(spk.detach(), self.epsilon)[wanted], labels)
        return (xi.sum((0, 2)) / len(spk)).square().mean()


def check_numbers(epsilon: int, interval: int = 1) -> None:
    """Check a window and an interval.

    Raises:
        ValueError: they are no whole numbers, or too small.

    >>> check_numbers(epsilon=4, interval=4)
    """
    for name, value, low in (("epsilon", epsilon, 0), ("interval", interval, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 2**30:
            raise ValueError(
                f"{name} must be a whole number of steps from {low}, got {value!r}; write {name}=4"
            )
