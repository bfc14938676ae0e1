"""The autograd graph behind a state: whether it still exists, and what must not be inspected."""

from functools import cache
from itertools import islice
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
    """The same values, behind which `is_freed` does not search: reading what is saved computes it.

    >>> sealed(torch.ones(1))
    tensor([1.])
    """
    return _Sealed.apply(value) if value.requires_grad and torch.is_grad_enabled() else value


def is_freed(value: Tensor, depth: int = 8) -> bool:
    """Whether ``backward()`` has freed the graph of ``value``, so that a second pass must fail.

    Checks the ``depth`` nearest nodes, not those behind a `sealed` value. Where hooks handle saved
    tensors (checkpointing, offloading) the answer is False, because the check would call them.

    >>> x = torch.ones(1, requires_grad=True)
    >>> y = x * x
    >>> y.backward(); is_freed(y)
    True
    """
    if _top_saved_tensors_default_hooks(False) is not None:
        return False
    nodes: list[Any] = [value.grad_fn]
    for node in islice(nodes, depth):  # grows in the loop
        names = _saved_tensors(type(node))
        if names is None:
            continue
        for name in names:
            try:
                getattr(node, name)
            except RuntimeError as error:  # also raised, with another text, after an in-place write
                if "already been freed" in str(error):
                    return True
        for parent, _ in node.next_functions:
            if parent is not None:
                nodes.append(parent)
    return False


@cache
def _saved_tensors(kind: type) -> list[str] | None:
    """Return the attributes of a node that read what it saved; None where the search ends."""
    if kind is type(None) or kind.__name__ == "_SealedBackward":
        return None
    raw = (
        name
        for name in dir(kind)
        if name.startswith("_raw_saved_") and name != "_raw_saved_tensors"
    )
    return [
        *(name.removeprefix("_raw") for name in raw),
        *["saved_tensors"] * hasattr(kind, "saved_tensors"),
    ]
