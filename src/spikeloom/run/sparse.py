"""Ordinary linear and convolution layers inside `snn.run`, called so that sparse input is fast.

Whether an input is sparse is seen by a look at a few of its rows, so that nothing needs to know where it comes from:
spikes of a neuron, pooled, flattened or dropped ones, an encoded image, event frames.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.modules import module as hooks

from ..kernels.events.choice import Density

__all__ = ["density_of", "kept_apart", "sparse_call"]

_DENSITIES: "WeakKeyDictionary[nn.Module, Density]" = WeakKeyDictionary()  # ordinary layers carry none themselves


def density_of(module: nn.Module) -> Any:
    """What a layer remembers of its inputs; prints as nothing for layers of other kinds."""
    return getattr(module, "density", None) or _DENSITIES.get(module, "")


def kept_apart(module: nn.Conv2d, x: Any) -> int:
    """The number of a convolution's `Density` if images [B, C, H, W] go by events in it or are kept as bits, else 0."""
    if isinstance(module.padding, str) or sparse_call(module) is module:
        return 0
    from ..kernels.events.convolution import is_kept_apart

    density, numbers = _DENSITIES[module], [*module.stride, *module.padding, *module.dilation, module.groups]
    return density.number if is_kept_apart(x, module.weight, numbers, density) else 0


def sparse_call(module: Any) -> Callable[..., Any]:
    """``module``, or its function for sparse inputs if it is exactly an ordinary layer that nobody watches.

    >>> sparse_call(nn.ReLU())
    ReLU()
    """
    if "forward" in vars(module) or hooks._has_any_global_hook():
        return module
    kind = type(module)
    if kind is nn.Linear:
        from ..kernels.events.linear import linear  # loads the operators on first use, not with the package

        density = _DENSITIES.setdefault(module, Density())
        return lambda x: linear(x, module.weight, module.bias, density=density)
    if kind in (nn.Conv1d, nn.Conv2d) and module.padding_mode == "zeros":
        from ..kernels.events.convolution import conv1d, conv2d

        density, convolution = _DENSITIES.setdefault(module, Density()), conv2d if kind is nn.Conv2d else conv1d
        sizes = module.stride, module.padding, module.dilation, module.groups
        return lambda x: convolution(x, module.weight, module.bias, *sizes, density=density)
    return module
