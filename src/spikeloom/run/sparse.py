"""Ordinary linear and convolution layers inside `snn.run`, called so that sparse input is fast.

Whether an input is sparse is seen by a look at a few of its rows, so that nothing needs to know where it comes from:
spikes of a neuron, pooled, flattened or dropped ones, an encoded image, event frames.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.modules import module as hooks

from ..kernels.events.choice import Density
from ..kernels.events.convolution import conv1d, conv2d
from ..kernels.events.linear import linear

__all__ = ["density_of", "sparse_call"]

_DENSITIES: "WeakKeyDictionary[nn.Module, Density]" = WeakKeyDictionary()  # ordinary layers carry none themselves
_CONVOLUTIONS: dict[type, Callable[..., Tensor]] = {nn.Conv1d: conv1d, nn.Conv2d: conv2d}


def density_of(module: nn.Module) -> Any:
    """What a layer remembers of its inputs; prints as nothing for layers of other kinds."""
    return getattr(module, "density", None) or _DENSITIES.get(module, "")


def sparse_call(module: nn.Module) -> Callable[..., Any]:
    """``module``, or its function for sparse inputs if it is exactly an ordinary layer that nobody watches.

    >>> sparse_call(nn.ReLU())
    ReLU()
    """
    kind = type(module)
    usual = kind is nn.Linear or (kind in _CONVOLUTIONS and module.padding_mode == "zeros")
    if not usual or "forward" in vars(module) or hooks._has_any_global_hook():
        return module
    density = _DENSITIES.setdefault(module, Density())
    if kind is nn.Linear:
        return lambda x: linear(x, module.weight, module.bias, density=density)
    convolution = _CONVOLUTIONS[kind]

    def call(x: Tensor) -> Tensor:
        sizes = module.stride, module.padding, module.dilation, module.groups
        return convolution(x, module.weight, module.bias, *sizes, density=density)

    return call
