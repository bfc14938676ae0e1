"""Two ways to run a network of one time step recorded, and the plain loop that both must equal."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikeloom as snn

__all__ = ["Cell", "as_the_loop", "built", "every_way", "lif", "loop", "runs"]

Make = Callable[[], nn.Module]


class Cell(nn.Module):
    """A linear layer and a neuron; subclasses write ``forward`` of one step."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(3, 4), lif(**options)


def lif(**options: Any) -> snn.Leaky:
    return snn.Leaky(0.9, **{"init_hidden": True, "threshold": 0.4, **options})


def loop(net: nn.Module, x: Tensor, num_steps: int | None = None) -> Any:
    """The step loop as users write it, from rest; results stacked over time."""
    snn.reset(net)
    steps = [net(x_t) for x_t in (x if num_steps is None else [x] * num_steps)]
    return pytree.tree_map(lambda *values: torch.stack(values), *steps)


def _layerwise(net: nn.Module, x: Tensor, num_steps: int | None = None) -> Any:
    return snn.layerwise(loop)(net, x, num_steps)


WAYS = {"run": snn.run, "layerwise": _layerwise}
every_way = pytest.mark.parametrize("way", WAYS)


def runs(way: str, net: nn.Module, x: Tensor, num_steps: int | None = None) -> Any:
    return WAYS[way](net, x, num_steps)


def built(make: Make) -> nn.Module:
    """A network in float64, the same at every call."""
    torch.manual_seed(5)
    return make().double()


def as_the_loop(
    way: str, make: Make, x: Tensor, num_steps: int | None = None, *, tolerance: float = 1e-10
) -> tuple[Any, Any, Any]:
    """The network that ran recorded, its twin that ran in the plain loop, and the output, which was
    equal.

    Compares outputs with their types, gradients of parameters and input, buffers and remembered
    states, in float64; a step that computes in a shorter dtype needs its ``tolerance``.
    """
    found = []
    for run in (loop, WAYS[way]):
        net, given = built(make), x.clone().double().requires_grad_()
        torch.manual_seed(6)
        output = run(net, given, num_steps)
        _backward(output)
        states = (value for module in net.modules() for value in getattr(module, "hidden", ()))
        state = [torch.as_tensor(value) for value in states]  # a number counts past steps
        found.append((net, output, [*net.buffers(), *state], _gradients(net, given)))
    (twin, expected, *others), (net, output, *same) = found
    _equal(pytree.tree_leaves(output), pytree.tree_leaves(expected), tolerance)
    for ours, theirs in zip(same, others, strict=True):
        _equal(ours, theirs, tolerance)
    return net, twin, output


def _backward(output: Any) -> None:
    values = [v for v in pytree.tree_leaves(output) if v.requires_grad]
    if values:
        weights = (torch.linspace(0.5, 1.5, v.numel(), dtype=v.dtype).view_as(v) for v in values)
        sum((v * w).sum() for v, w in zip(values, weights, strict=True)).backward()


def _gradients(net: nn.Module, x: Tensor) -> list[Tensor | None]:
    return [x.grad, *(p.grad for p in net.parameters())]


def _equal(ours: list[Any], theirs: list[Any], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert type(a) is type(b)
        if b is not None:
            assert (a.dtype, a.requires_grad) == (b.dtype, b.requires_grad)
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
