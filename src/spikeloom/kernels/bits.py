"""Stores spikes for the backward pass as one bit each, whichever operation saves them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .layout import is_dense

__all__ = ["spikes_as_bits"]

LEAST = 2**10  # elements; smaller tensors are stored as they are


@contextmanager
def spikes_as_bits() -> Iterator[None]:
    """Inside the block, saved tensors with equal nonzero values take one bit for each element.

    >>> x, layer = torch.eye(64), torch.nn.Linear(64, 2)
    >>> with spikes_as_bits():
    ...     y = layer(x)
    >>> y.sum().backward()
    >>> layer.weight.grad[0, :3]
    tensor([1., 1., 1.])
    """
    with torch.autograd.graph.saved_tensors_hooks(_packed, _unpacked):
        yield


def _packed(x: Tensor) -> Any:
    if (
        x.numel() < LEAST
        or not x.is_cpu
        or (x.is_leaf and x.requires_grad)
        or not (x.is_floating_point() or x.dtype == torch.bool)
    ):
        return x
    flat = x.detach().as_strided((x.numel(),), (1,)) if is_dense(x) else None
    if flat is None or not _equal(flat[:LEAST]) or not _equal(flat):
        return x
    bits = np.packbits((flat != 0).numpy())  # the tensor has no other owner
    return torch.from_numpy(bits), flat.max() + flat.min(), x.shape, x.stride()


def _equal(flat: Tensor) -> bool:
    """Whether all nonzero values are equal."""
    low, high = flat.aminmax()
    value = low + high  # one of them is 0
    return bool((low == 0) | (high == 0)) and bool(((flat == value) | (flat == 0)).all())


def _unpacked(saved: Any) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    bits, value, shape, stride = saved
    flat = (
        torch.from_numpy(np.unpackbits(bits.numpy(), count=shape.numel()))
        .to(value.dtype)
        .mul_(value)
    )
    return flat.as_strided(shape, stride)
