"""Traces a transition: records one step and its vector-Jacobian product as torch computes them.

They run on small tensors of equal shape; copies, detaches and in-place variants are removed from
the record. Custom neurons are traced in the same way.
"""

import threading
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..core.transition import Transition
from .program import COMPARISONS, Node, Program, Ref, latest, operation
from .recorder import pulled_back, recorded

__all__ = ["Untraceable", "pointwise", "program"]


class Untraceable(Exception):
    """Raised when a transition is not a list of pointwise operations; the text gives the reason."""


@latest
def program(transition: Transition, dtype: torch.dtype) -> Program | str:
    """Return the program of a transition, or the reason why there is none.

    Args:
        transition: the transition to trace.
        dtype: floating-point type of the trace.
    """
    if transition.obstacle():
        return transition.obstacle()
    return _traced(lambda: _build(transition, dtype))


def pointwise(
    function: Callable[..., Sequence[Tensor]], labels: list[str], dtype: torch.dtype
) -> tuple[Program, list[int]] | str:
    """Return the program of a pointwise function and the numbers of its results, or the reason.

    Args:
        function: of tensors of one shape, one for each label; returns tensors of that shape.
        labels: names of its arguments.
        dtype: floating-point type of the trace.
    """

    def build() -> tuple[Program, list[int]]:
        inputs = [torch.full((4,), 0.5, dtype=dtype) for _ in labels]
        with torch.no_grad():
            return _Importer(labels, dtype).run(recorded(function, inputs))

    return _traced(build)


def _traced(build: Callable[[], Any]) -> Any:
    """Return what ``build`` returns, or the text of its error."""
    result: list[Any] = []

    def work() -> None:
        try:
            result.append(build())
        except Exception as error:  # an error of a user's equations is the reason
            first = (str(error).splitlines() or [""])[0]
            result.append(f"its equations cannot be traced ({type(error).__name__}: {first})")

    # torch keeps its dispatch state (grad mode, compilers, other tracers) per thread: a fresh one
    # traces cleanly
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return result[0]


def _build(transition: Transition, dtype: torch.dtype) -> Program:
    fields = transition.neuron.State._fields
    names = transition.names
    params = namedtuple("Params", names)
    n = 1 + len(fields)
    k = 1 + len(fields) + len(names)

    def step(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        spk, state = transition(x, transition.neuron.State(*rest[: n - 1]), params(*rest[n - 1 :]))
        return spk, *state

    def joint(*args: Tensor) -> list[Any]:
        outputs = (
            *step(*args[:k]),
            *args[:n],
        )  # other gradients of the inputs are then added as in the eager loop
        return [*outputs[:n], *pulled_back(outputs, args[k:], args[:k])]

    labels = [
        "x",
        *(f"s_{f}" for f in fields),
        *(f"p_{p}" for p in names),
        "o_spk",
        *(f"g_{f}" for f in fields),
    ]
    labels += [f"e_{name}" for name in ("x", *fields)]
    inputs = [torch.full((4,), 0.5, dtype=dtype, requires_grad=i < k) for i in range(len(labels))]
    graph = recorded(joint, inputs)
    built = _Importer(labels, dtype).run(graph)
    done, outputs = built
    done.forward = dict(zip(["spk", *(f"n_{f}" for f in fields)], outputs[:n], strict=True))
    found = dict(zip(labels[:k], outputs[n:], strict=True))
    done.joined = {label: i for label, i in found.items() if label[0] in "xs"}
    elsewhere = done.reached(i for label, i in done.inputs.items() if label[0] == "e")
    for label, i in found.items():
        alone = _alone(done, i, elsewhere)
        done.gradients[label] = done.constant(0.0, dtype) if alone is None else alone
    return done


def _alone(built: Program, index: int, elsewhere: set[int]) -> int | None:
    """Return a gradient without the other gradients of the same input; None if nothing remains."""
    if index not in elsewhere:
        return index
    node = built.nodes[index]
    parts = [part for r in node.refs if (part := _alone(built, r, elsewhere)) is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return built.apply(node.op, tuple(map(Ref, parts)), node.dtype)


_SAME = {"detach", "alias", "clone", "lift_fresh_copy", "lift_fresh", "view_as", "contiguous"}
_FILLED = {
    "zeros_like": 0.0,
    "ones_like": 1.0,
    "zeros": 0.0,
    "ones": 1.0,
    "new_zeros": 0.0,
    "new_ones": 1.0,
}
_BINARY = {"add", "sub", "rsub", "mul", "div", "maximum", "minimum", "pow", *COMPARISONS}


class _Importer:
    """Reads the tracer's graph into a `Program`."""

    def __init__(self, labels: list[str], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.program = Program()
        self.labels = labels
        self.env: dict[Any, int] = {}

    def run(self, graph: Any) -> tuple[Program, list[int]]:
        labels = iter(self.labels)
        for node in graph.nodes:
            if node.op == "placeholder":
                name = next(labels)
                self.env[node] = self.program.inputs[name] = self.program.add(
                    Node(name=name, dtype=self.dtype)
                )
            elif node.op == "call_function":
                self.env[node] = self.call(node)
            elif node.op == "output":
                flat = tree_leaves(node.args[0])
                return self.program, [
                    self.constant(0.0) if a is None else self.env[a] for a in flat
                ]
            else:
                raise Untraceable(
                    f"it reads the tensor {node.target!r} from outside; pass it as a parameter"
                )
        raise Untraceable("it returns nothing")

    def constant(self, value: float) -> int:
        return self.program.constant(value, self.dtype)

    def call(self, node: Any) -> int:
        packet = node.target
        name = operation(node.target)
        args = [self.env[a] if isinstance(a, torch.fx.Node) else a for a in node.args]
        if name in _SAME:
            return args[0]
        if name in _FILLED:
            return self.constant(_FILLED[name])
        if name in ("full_like", "full"):
            return self.constant(args[1])
        if name == "scalar_tensor":
            return self.program.constant(args[0], node.kwargs.get("dtype") or self.dtype)
        if name == "_to_copy":
            return self.cast(args[0], node.kwargs.get("dtype"))
        in_place = name.endswith("_")
        if in_place:
            packet = getattr(getattr(torch.ops.aten, name[:-1]), packet._overloadname)
        made = self.pointwise(packet, node, args)
        if in_place:
            self.env[node.args[0]] = made  # later readers of the argument see the written value
        return made

    def pointwise(self, packet: Any, node: Any, args: list[Any]) -> int:
        if (
            torch.Tag.pointwise not in packet.tags
            or torch.Tag.nondeterministic_seeded in packet.tags
        ):
            raise Untraceable(f"{packet} is not a deterministic pointwise operation")
        if node.kwargs:
            raise Untraceable(
                f"{packet} with {', '.join(node.kwargs)}= has no kernel; write the arithmetic out"
            )
        name = operation(packet)
        made = []
        for original, value in zip(node.args, args, strict=True):
            number = name in _BINARY and _is_number(value) and len(made) < 2
            is_node = isinstance(original, torch.fx.Node)
            if is_node:
                made.append(Ref(value))
            else:
                made.append(Ref(self.constant(value)) if number else value)
        if name == "rsub":
            packet = torch.ops.aten.sub.Tensor
            made = [made[1], made[0]]
        compares = name in COMPARISONS or name.startswith("logical")
        return self.program.apply(
            packet, tuple(made), torch.bool if compares else node.meta["val"].dtype
        )

    def cast(self, index: int, dtype: Any) -> int:
        node = self.program.nodes[index]
        if dtype is None or node.dtype == dtype:
            return index
        if node.value is not None:
            return self.program.constant(node.value, dtype)
        if node.op is not None and operation(node.op) in COMPARISONS:
            return self.program.add(
                Node(node.op, node.args, dtype)
            )  # a comparison that returns 0 and 1
        return self.program.add(Node(torch.ops.aten._to_copy.default, (Ref(index),), dtype))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
