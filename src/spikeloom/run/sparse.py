"""Ordinary linear layers inside `snn.run`, called so that sparse input is fast where that was seen to pay."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.modules import module as hooks

__all__ = ["density_of", "sparse_call"]

_SEEN: "WeakKeyDictionary[nn.Module, str]" = WeakKeyDictionary()  # ordinary layers carry no such attribute


def density_of(module: nn.Module) -> str:
    """How a layer went through its last input; empty for layers of other kinds."""
    return getattr(module, "density", "") if type(module).__name__ == "SpikeLinear" else _SEEN.get(module, "")


def sparse_call(module: Any) -> Callable[..., Any]:
    """``module``, or its function for sparse inputs if it is exactly an ordinary linear layer without overrides.

    >>> sparse_call(nn.ReLU())
    ReLU()
    """
    if type(module) is not nn.Linear or "forward" in vars(module) or hooks._has_any_global_hook():
        return module
    from ..kernels.events.choice import linear  # loads what it needs on first use, not with the package

    def call(x: Any) -> Any:
        y, _SEEN[module] = linear(x, module.weight, module.bias)
        return y

    return call
