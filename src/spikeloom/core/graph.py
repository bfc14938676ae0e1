"""The graph of autograd that a state hangs on: whether it still exists, and where nobody may look."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._C._autograd import _top_saved_tensors_default_hooks

__all__ = ["is_freed", "sealed"]


class _Sealed(torch.autograd.Function):
    """Passes values and gradients on."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0]


def sealed(value: Tensor) -> Tensor:
    """The same values, behind which `is_freed` does not look: what was saved there is computed when it is read.

    >>> sealed(torch.ones(1))
    tensor([1.])
    """
    return _Sealed.apply(value) if value.requires_grad and torch.is_grad_enabled() else value


def is_freed(value: Tensor, depth: int = 24) -> bool:
    """Whether ``backward()`` has already freed the graph that made ``value``: another pass through it must fail.

    Walks at most ``depth`` nodes back, not behind what is `sealed`. Where hooks handle saved tensors (checkpointing,
    offloading) the answer is False, because looking would call them.

    >>> x = torch.ones(1, requires_grad=True)
    >>> y = x * x
    >>> y.backward(); is_freed(y)
    True
    """
    if _top_saved_tensors_default_hooks(False) is not None:
        return False
    nodes = [value.grad_fn]
    while nodes and depth:
        node, depth = nodes.pop(0), depth - 1
        if node is None or type(node).__name__ == "_SealedBackward":
            continue
        for name in _saved_attributes(type(node)):
            try:
                getattr(node, name)
            except RuntimeError:
                return True
        nodes.extend(parent for parent, _ in node.next_functions)
    return False


@cache
def _saved_attributes(kind: type) -> tuple[str, ...]:
    return tuple(n for n in dir(kind) if n == "saved_tensors" or (n.startswith("_saved_") and n not in _NO_TENSOR))


_NO_TENSOR = {"_saved_alpha", "_saved_dim", "_saved_self_sym_sizes", "_saved_index"}
