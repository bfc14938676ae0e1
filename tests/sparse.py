"""Spikes to compute with, and what tests of sparse layers compare: results, gradients, bytes that
are kept."""

from collections.abc import Callable
from typing import Any

import torch
from closeness import assert_same_sums
from torch import Tensor


def spikes(
    shape: tuple[int, ...], density: float, kind: str = "binary", dtype: Any = torch.float32
) -> Tensor:
    fired = (torch.rand(shape) < density).to(dtype)
    if kind == "one value":
        return fired * 0.7
    return fired if kind == "binary" else fired * torch.randn(shape, dtype=dtype)


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    flow = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)
    return [y, *torch.autograd.grad(y, inputs, flow)]


def assert_close(found: list[Tensor], expected: list[Tensor], terms: int) -> None:
    """Equal up to the rounding of sums of that many terms of about the size of the largest
    result."""
    for a, b in zip(found, expected, strict=True):
        assert_same_sums(a, b, summands=terms)


def saved_bytes(make: Callable[[], Any], *but: Tensor) -> int:
    """Bytes that autograd keeps, besides the given tensors."""
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        if all(t.data_ptr() != b.data_ptr() for b in but):
            kept[t.data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        alive = make()
    assert alive.requires_grad
    return sum(kept.values())
