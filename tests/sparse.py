"""Spikes to compute with, and what tests of sparse layers compare: results, gradients, bytes that are kept."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def spikes(shape: tuple[int, ...], density: float, kind: str = "binary", dtype: Any = torch.float32) -> Tensor:
    fired = (torch.rand(shape) < density).to(dtype)
    if kind == "one value":
        return fired * 0.7
    return fired if kind == "binary" else fired * torch.randn(shape, dtype=dtype)


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    flow = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)
    return [y, *torch.autograd.grad(y, inputs, flow)]


def assert_close(found: list[Tensor], expected: list[Tensor], terms: int) -> None:
    """Equal up to the rounding of sums of that many terms of about the size of the largest result."""
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        if not b.numel():
            continue
        scale = float(b.detach().abs().max().clamp_min(1.0))
        assert (a - b).abs().max() <= TOLERANCE[a.dtype] * scale * max(1.0, terms**0.5)


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
