"""Samples of unequal length as padded tensors [N, T, ...] with their lengths."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, unpack_sequence
from torch.utils.data import default_collate

from ..data import pad_sequences

__all__ = ["Padded", "collated", "is_list_of_samples", "padded", "trimmed"]


class Padded(NamedTuple):
    """Samples with the steps of each; ``lengths`` None: all samples have all steps.

    >>> Padded(torch.zeros(2, 3, 4), None).x.shape
    torch.Size([2, 3, 4])
    """

    x: Tensor  # [N, T, ...]
    lengths: Tensor | None  # [N]


def is_list_of_samples(value: Any) -> bool:
    """Whether a value is a list or tuple of tensors or arrays with axes, or packed by torch.

    >>> is_list_of_samples([torch.zeros(2, 3)]), is_list_of_samples([torch.tensor(1)])
    (True, False)
    """
    if isinstance(value, PackedSequence):
        return True
    if not isinstance(value, (list, tuple)) or not value:
        return False
    arrays = all(isinstance(v, Tensor) or hasattr(v, "__array_interface__") for v in value)
    return arrays and all(len(v.shape) > 0 for v in value)


def padded(samples: Sequence[Any], *, timed: bool, what: str = "samples") -> Padded:
    """A list of samples as one tensor.

    Args:
        samples: [...] each; with ``timed`` [T_i, ...], or a ``PackedSequence`` of torch.
        timed: whether their first axis is time, so that it may differ.
        what: the samples, for messages.

    Raises:
        TypeError: samples of unequal length without a time axis.
        ValueError: they differ in more than their length, or one has no step.

    >>> padded([torch.ones(1, 2), torch.ones(3, 2)], timed=True).lengths
    tensor([1, 3])
    """
    if isinstance(samples, PackedSequence):
        samples = unpack_sequence(samples)
    each = [torch.as_tensor(sample) for sample in samples]
    shapes = {tuple(x.shape) for x in each}
    if len(shapes) == 1:
        return Padded(torch.stack(each), None)
    if not timed:
        raise TypeError(
            f"{what} of unequal shape must carry time, got {min(shapes)} and {max(shapes)}; write "
            'encode="sequence" for samples [T, ...], or bring them to one shape'
        )
    if any(len(x) == 0 for x in each):
        raise ValueError(f"{what} must have at least one step each, got an empty one; leave it out")
    x, _, lengths = pad_sequences([(x, 0) for x in each], batch_first=True, lengths=True)
    return Padded(x, lengths)


def trimmed(x: Tensor, lengths: Tensor | None) -> Padded:
    """A padded batch without steps that all of its samples lack.

    >>> trimmed(torch.zeros(2, 9, 1), torch.tensor([3, 3]))[0].shape
    torch.Size([2, 3, 1])
    """
    if lengths is None or not len(lengths):
        return Padded(x, None)
    most = int(lengths.max())
    equal = int(lengths.min()) == most
    return Padded(x[:, :most], None if equal else lengths)


def collated(samples: list[Any]) -> Any:
    """A batch of a data set as torch makes it, but padded if its samples differ in length.

    >>> x, y, lengths = collated([(torch.ones(1, 2), 0), (torch.ones(3, 2), 1)])
    >>> x.shape, lengths
    (torch.Size([2, 3, 2]), tensor([1, 3]))
    """
    pairs = all(isinstance(sample, (list, tuple)) and len(sample) == 2 for sample in samples)
    if not pairs or not is_list_of_samples([sample[0] for sample in samples]):
        return default_collate(samples)
    if len({tuple(sample[0].shape) for sample in samples}) == 1:
        return default_collate(samples)
    x, lengths = padded([sample[0] for sample in samples], timed=True)
    return x, default_collate([sample[1] for sample in samples]), lengths
