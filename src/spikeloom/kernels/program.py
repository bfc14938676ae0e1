"""A program: the pointwise operations of a time step and of its pullback, ready for a printer.

Equal expressions are one node. Only simplifications that are exact in floating point are made: a
product with 1, a product with 0 that represents an absent gradient, and ``a - b > 0``, which is ``a
> b``. The module contains no equation of a neuron.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch

__all__ = ["COMPARISONS", "Node", "Program", "Ref", "latest", "operation"]

latest = lru_cache(
    maxsize=512
)  # bounded, because annealing a slope makes a transition for every value
COMPARISONS = frozenset({"gt", "lt", "ge", "le", "eq", "ne"})


def operation(packet: Any) -> str:
    """Return the name of an ATen overload without its variant: ``aten.mul.Tensor`` is ``mul``."""
    return packet.__name__.split(".")[0]


class Ref(NamedTuple):
    """A reference to a node by its number."""

    index: int


@dataclass(frozen=True)
class Node:
    """One pointwise operation, an input (``name``) or a constant (``value``).

    Args:
        op: ATen overload such as ``aten.mul.Tensor``; None for inputs and constants.
        args: references and plain numbers.
        dtype: dtype of the result; ``bool`` for comparisons, unless they return floating-point
            numbers.
        name: name of an input: ``x``, ``s_<state>``, ``p_<parameter>``, ``o_spk`` and ``g_<state>``
            (incoming gradients of the spikes and of the new states), ``e_x`` and ``e_<state>``
            (other gradients of the input and of the old states).
        value: value of a constant.
    """

    op: Any = None
    args: tuple[Any, ...] = ()
    dtype: torch.dtype = torch.float32
    name: str = ""
    value: float | None = None

    @property
    def refs(self) -> tuple[int, ...]:
        """Return the numbers of the nodes that it reads."""
        return tuple(a.index for a in self.args if isinstance(a, Ref))


@dataclass
class Program:
    """One step of a transition and of its pullback.

    Args:
        nodes: the nodes in topological order; each reads only earlier ones.
        inputs: number of each input.
        forward: number of ``spk`` and of the new value of each state, ``n_<state>``.
        gradients: number of the gradient of ``x``, ``s_<state>`` and ``p_<parameter>``.
        joined: number of the gradient of ``x`` and ``s_<state>`` together with ``e_x`` and
            ``e_<state>``, added in autograd's order: ``e_x`` and ``e_<state>`` come first.
    """

    nodes: list[Node] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    forward: dict[str, int] = field(default_factory=dict)
    gradients: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    _table: dict[Node, int] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """Add a node, or find an equal one; return its number."""
        if node not in self._table:
            self._table[node] = len(self.nodes)
            self.nodes.append(node)
        return self._table[node]

    def needed(self, roots: Iterable[int], given: Iterable[int] = ()) -> list[int]:
        """Return, in order, the operations that compute ``roots`` when ``given`` are known."""
        seen = set(given)
        stack = list(roots)
        wanted: set[int] = set()
        while stack:
            i = stack.pop()
            if i not in seen:
                seen.add(i)
                wanted.add(i)
                stack.extend(self.nodes[i].refs)
        return sorted(i for i in wanted if self.nodes[i].op is not None)

    def constant(self, value: float, dtype: torch.dtype) -> int:
        """Add a constant."""
        return self.add(Node(value=float(value), dtype=dtype))

    def apply(self, packet: Any, args: tuple[Any, ...], dtype: torch.dtype) -> int:
        """Add an operation, or its simplification."""
        name = operation(packet)
        nodes = [self.nodes[a.index] if isinstance(a, Ref) else None for a in args]
        values = [None if n is None else n.value for n in nodes]
        if name == "mul" and 0.0 in values:
            return self.constant(0.0, dtype)
        if name == "mul" and 1.0 in values:
            return args[1 - values.index(1.0)].index
        if name == "neg" and values[0] == 0.0:
            return self.constant(0.0, dtype)
        first = nodes[0]
        if (
            name in COMPARISONS
            and values[1] == 0.0
            and first is not None
            and first.op is not None
            and _difference(first)
        ):
            packet = getattr(torch.ops.aten, name).Tensor
            args = first.args
        return self.add(Node(packet, args, dtype))

    def specialised(self, values: Mapping[str, float]) -> "Program":
        """Return the program with some inputs replaced by numbers."""
        made = Program()
        moved: list[int] = []
        for node in self.nodes:
            if node.name in values:
                moved.append(made.constant(values[node.name], node.dtype))
            elif node.op is None:
                moved.append(made.add(node))
            else:
                args = tuple(Ref(moved[a.index]) if isinstance(a, Ref) else a for a in node.args)
                moved.append(made.apply(node.op, args, node.dtype))
        made.inputs = {n: moved[i] for n, i in self.inputs.items() if n not in values}
        made.forward = {n: moved[i] for n, i in self.forward.items()}
        made.gradients = {n: moved[i] for n, i in self.gradients.items()}
        made.joined = {n: moved[i] for n, i in self.joined.items()}
        return made

    def reached(self, sources: Iterable[int]) -> set[int]:
        """Return all nodes that are computed from one of ``sources``, including ``sources``."""
        found = set(sources)
        for i, node in enumerate(self.nodes):
            if any(r in found for r in node.refs):
                found.add(i)
        return found


def _difference(node: Node) -> bool:
    return operation(node.op) == "sub" and len(node.args) == 2
