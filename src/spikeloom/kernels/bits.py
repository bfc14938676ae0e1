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
        or not is_dense(x)
    ):
        return x
    flat = x.detach().as_strided((x.numel(),), (1,))
    found = _fired(flat[:LEAST]) and _fired(flat)  # most tensors of other values show them early
    if found is None:
        return x
    bits, value = found
    return bits, torch.tensor(value, dtype=x.dtype), x.shape, x.stride()


def _fired(flat: Tensor) -> tuple[Tensor, Any] | None:
    """Return which elements are nonzero, as bits, and their value; None if their values differ.

    numpy takes a tenth of the time of the same operations of torch.
    """
    if flat.dtype not in (torch.bool, torch.float32, torch.float64):
        flat = flat.float()  # exact for narrower floats; numpy has no bfloat16
    values = flat.numpy()
    value = values.max() or values.min()
    fired = values != 0
    equal = np.count_nonzero(values == value) == np.count_nonzero(fired)  # fast for booleans alone
    return (torch.from_numpy(np.packbits(fired)), value) if equal or not value else None


def _unpacked(saved: Any) -> Tensor:
    if isinstance(saved, Tensor):
        return saved
    bits, value, shape, stride = saved
    flat = torch.from_numpy(np.unpackbits(bits.numpy(), count=shape.numel()))
    if value.dtype == torch.bool:
        flat = flat.view(torch.bool)
    else:
        flat = flat.to(value.dtype)
        if value != 1:
            flat.mul_(value)
    return flat.as_strided(shape, stride)
