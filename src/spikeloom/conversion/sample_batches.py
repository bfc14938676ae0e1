"""Reads the user's samples, a tensor or batches, and moves them to the device of the network."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.numbers import tensor

__all__ = ["batches", "first_batch", "home_of", "labelled", "tensor_pair"]

BATCH = 250


def home_of(net: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating-point type of a network.

    >>> home_of(nn.Linear(1, 1))
    (device(type='cpu'), torch.float32)
    """
    floats = (t for t in [*net.parameters(), *net.buffers()] if t.is_floating_point())
    first = next(floats, torch.zeros(()))
    return first.device, first.dtype


def batches(data: Any, net: nn.Module) -> Iterator[Tensor]:
    """Yields inputs [B, ...] batch by batch, on the device of the network.

    Args:
        data: a tensor of samples [N, ...]; or an iterable of batches, each a tensor [B, ...] or a
            tuple that begins with one, as a ``DataLoader`` yields.
        net: the network.

    Raises:
        TypeError: ``data`` has another type, or a batch is not floating point.
        ValueError: there is no sample, or one is not finite.
    """
    for x, _ in _pairs(data, net, labels=False):
        yield x


def labelled(data: Any, net: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields inputs and labels, batch by batch, from a pair of tensors or from pairs of batches."""
    return _pairs(data, net, labels=True)


def first_batch(data: Any, net: nn.Module) -> Tensor:
    """The first batch; refuses an iterator, which cannot be read again.

    >>> first_batch(torch.zeros(3, 2), nn.Linear(2, 1)).shape
    torch.Size([3, 2])
    """
    if isinstance(data, Iterator):
        raise TypeError(
            "the samples are read several times, got an iterator; pass list(...) or the DataLoader "
            "itself"
        )
    return next(batches(data, net))


def _pairs(data: Any, net: nn.Module, *, labels: bool) -> Iterator[tuple[Tensor, Tensor]]:
    device, dtype = home_of(net)
    number = 0
    for batch in _batches(data, labels):
        items: Any = batch if isinstance(batch, (tuple, list)) else (batch,)
        if labels and len(items) < 2:
            raise TypeError(
                "accuracy needs labels, got batches without labels; pass (x, y), or a loader that "
                "yields (x, y)"
            )
        x = items[0]
        checks.floating(x, "a batch of samples")
        if x.dim() < 2 or not len(x):
            raise ValueError(
                f"a batch of samples is [B, ...] with B > 0, got {tuple(x.shape)}; write "
                "x.unsqueeze(0)"
            )
        checks.finite(x, "a batch of samples")
        number += len(x)
        yield x.to(device, dtype), (torch.as_tensor(items[1]).to(device) if labels else x[:0])
    if not number:
        raise ValueError(
            "there is no sample; pass a tensor [N, ...] or a loader that yields batches"
        )


def tensor_pair(data: Any) -> bool:
    """Whether ``data`` is a pair of tensors."""
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    return pair and all(isinstance(d, Tensor) for d in data)


def _batches(data: Any, labels: bool) -> Iterable[Any]:
    if isinstance(data, Tensor):
        tensor("samples", data)
        if data.dim() < 2:
            raise ValueError(f"samples are [N, ...], got {tuple(data.shape)}; write x.unsqueeze(0)")
        return data.split(BATCH)
    # (x, y), not two batches.
    if tensor_pair(data) and data[1].dim() == 1 and len(data[0]) == len(data[1]):
        return zip(data[0].split(BATCH), data[1].split(BATCH), strict=True)
    one_value = getattr(data, "shape", None) == ()  # an array of one value cannot be iterated
    if isinstance(data, (str, bytes, dict)) or not isinstance(data, Iterable) or one_value:
        raise TypeError(
            "samples must be a tensor [N, ...] or an iterable of batches, got "
            f"{type(data).__name__}; write torch.stack([...]), or pass a DataLoader"
        )
    return data
