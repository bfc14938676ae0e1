"""Records the operations that torch runs below autograd as a graph.

`torch.fx.experimental.proxy_tensor.make_fx` does the same in general, but imports torch's compiler,
which takes two seconds. This recorder is sufficient for a step and its pullback: a few dozen
operations on a few tensors.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["pulled_back", "recorded"]


class _Recorder(TorchDispatchMode):
    """Records every operation as a node whose ``meta["val"]`` is its result."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.nodes: dict[int, Any] = {}
        self.alive: list[Any] = []  # a freed object's id may be used again
        for i, value in enumerate(inputs):
            self.keep(value, self.graph.placeholder(f"input_{i}"))

    def keep(self, value: Any, node: fx.Node) -> None:
        self.nodes[id(value)] = node
        self.alive.append(value)

    def node_of(self, value: Any) -> Any:
        """Return the node of a tensor; a tensor from outside gets a node that reads it."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self.nodes:
            self.keep(value, self.graph.create_node("get_attr", f"tensor_{len(self.alive)}"))
        return self.nodes[id(value)]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch reads this; True would import its compiler at the first operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = pytree.tree_map(self.node_of, (args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        node = self.graph.call_function(func, *given)
        node.meta["val"] = result
        if isinstance(result, Tensor):
            self.keep(result, node)
        return result


def recorded(
    function: Callable[..., Sequence[Tensor | None]], inputs: Sequence[Tensor]
) -> fx.Graph:
    """Return the operations of ``function(*inputs)`` and its backward passes, as a graph.

    Args:
        function: returns tensors, or None.
        inputs: the placeholders of the graph, in this order.
    """
    recorder = _Recorder(inputs)
    with recorder:
        outputs = function(*inputs)
    recorder.graph.output(tuple(recorder.node_of(value) for value in outputs))
    return recorder.graph


def pulled_back(
    outputs: Sequence[Tensor], grads: Sequence[Tensor], inputs: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return the gradients of ``inputs`` for gradients ``grads`` of ``outputs``; None if unused."""
    if not any(output.requires_grad for output in outputs):
        return [None] * len(inputs)
    return list(torch.autograd.grad(_Source.apply(*outputs, *grads), inputs, allow_unused=True))


class _Source(torch.autograd.Function):
    """A scalar with a set gradient; explicit gradients in `torch.autograd.grad` import sympy."""

    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> Tensor:
        ctx.grads = values[len(values) // 2 :]
        return values[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *ctx.grads, *(None for _ in ctx.grads)
