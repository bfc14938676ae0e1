"""Printer for plain torch: a loop over time without autograd, for every device, no extra.

Each operation writes to a buffer that is reused when its value is no longer needed, so that a step
works on a few cache-sized arrays. Results are written directly to the output of the step. Values
that depend only on parameters are computed once, before the loop.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from .program import COMPARISONS, Node, Program, Ref, latest, operation
from .task import Task, fresh

__all__ = ["compiled_backward", "compiled_forward"]


class _Body:
    """Prints operations as lines, one buffer for each value that is alive."""

    def __init__(self, built: Program, names: dict[int, str]) -> None:
        self.program = built
        self.names = dict(names)
        self.setup: list[str] = []  # runs once
        self.lines: list[str] = []  # runs at every step
        self.free: dict[torch.dtype, list[str]] = {}
        self.count = 0

    def buffer(self, dtype: torch.dtype) -> str:
        if self.free.get(dtype):
            return self.free[dtype].pop()
        self.count += 1
        self.setup.append(f"b{self.count} = torch.empty_like(like, dtype={dtype})")
        return f"b{self.count}"

    def constant(self, argument: Any) -> Any:
        """Return the number behind a reference to a constant; anything else as it is."""
        value = self.program.nodes[argument.index].value if isinstance(argument, Ref) else None
        return argument if value is None else value

    def operand(self, argument: Any) -> str:
        if not isinstance(argument, Ref):
            return repr(argument)
        node = self.program.nodes[argument.index]
        if node.value is not None and argument.index not in self.names:
            self.names[argument.index] = name = f"k{argument.index}"
            self.setup.append(f"{name} = torch.tensor({node.value!r}, dtype={node.dtype})")
        return self.names[argument.index]

    def call(self, node: Node, out: str | None) -> str:
        """Return the expression of an operation, which writes to ``out`` if it supports that."""
        packet = node.op
        name = operation(packet)
        given = node.args
        if name == "pow":  # torch multiplies only where the exponent is a number such as 2
            given = (given[0], self.constant(given[1]))
        args = ", ".join(self.operand(a) for a in given)
        if name == "_to_copy":
            return f"{out}.copy_({args})" if out else f"{args}.to({node.dtype})"
        if not hasattr(torch, name) or not any(
            "out" in variant for variant in packet.overloadpacket.overloads()
        ):
            source = f"torch.ops.aten.{packet.__name__}({args})"
            return f"{out}.copy_({source})" if out else source
        if out is None:
            return f"torch.{name}({args})" + (
                f".to({node.dtype})" if name in COMPARISONS and node.dtype != torch.bool else ""
            )
        return f"torch.{name}({args}, out={out})"

    def hoist(self, order: list[int], stepwise: set[int]) -> list[int]:
        """Print constant operations before the loop; return the others."""
        for i in order:
            if i not in stepwise and i not in self.names:
                expression = self.call(self.program.nodes[i], None)
                self.setup.append(f"h{i} = {expression}")
                self.names[i] = f"h{i}"
        return [i for i in order if i in stepwise]

    def run(self, order: list[int], slots: dict[int, str], keep: set[int]) -> None:
        """Print ``order``; values in ``slots`` are written there, ``keep`` is never overwritten."""
        last = {r: position for position, i in enumerate(order) for r in self.program.nodes[i].refs}
        owned: dict[int, str] = {}
        for position, i in enumerate(order):
            node = self.program.nodes[i]
            for r in set(node.refs):
                if last[r] == position and r in owned and r not in keep:
                    self.free.setdefault(self.program.nodes[r].dtype, []).append(owned.pop(r))
            out = slots.get(i)
            if out is None:
                out = owned[i] = self.buffer(node.dtype)
            self.lines.append(self.call(node, out))
            self.names[i] = out
            if i not in last and i not in keep and i in owned:
                self.free.setdefault(node.dtype, []).append(owned.pop(i))


def _indent(lines: list[str], spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in lines) or " " * spaces + "pass"


def _function(source: str, name: str) -> Callable[..., Any]:
    scope: dict[str, Any] = {
        "torch": torch,
        "inf": math.inf,
        "nan": math.nan,
    }  # as numbers print themselves
    exec(compile(source, f"<spikeloom {name}>", "exec"), scope)
    function = scope[name]
    function.source = source
    return function


@latest
def compiled_forward(task: Task) -> Callable[..., None]:
    """A function of lists of T step tensors, as listed.

    ``forward(x, s_<state>.., p_<parameter>.., spk, n_<state>.., h_<state>..)``.

    The lists h_<state> receive the states that the task keeps in 16 bits; they have T + 1 entries.
    """
    built = task.program
    fields = task.fields
    outputs = built.forward
    stepwise = built.reached(i for n, i in built.inputs.items() if n[0] in "xs")
    body = _Body(built, {i: n if n[0] in "ps" else "x_t" for n, i in built.inputs.items()})
    order = body.hoist(built.needed(outputs.values()), stepwise)
    slots, copies = _slots(outputs, order, {label: f"{label}[t]" for label in outputs})
    body.run(order, slots, set(order) & set(outputs.values()))
    body.lines += [f"{target}.copy_({body.operand(Ref(i))})" for target, i in copies]
    body.lines += [f"h_{f}[t + 1].copy_({_offset(task, f'n_{f}[t]', '-')})" for f in task.halves]
    body.lines += [f"s_{f} = n_{f}[t]" for f in fields]
    arguments = [
        "x",
        *(f"s_{f}" for f in fields),
        *(f"p_{p}" for p in task.transition.names),
        *outputs,
    ]
    arguments += [f"h_{f}" for f in task.halves]
    source = (
        f"def forward({', '.join(arguments)}):\n    like = spk[0]\n{_indent(body.setup, 4)}\n"
        f"    for t in range(len(spk)):\n        x_t = x[t]\n{_indent(body.lines, 8)}\n"
    )
    return _function(source, "forward")


def _offset(task: Task, value: str, sign: str) -> str:
    name = task.offsets.get(value[2:].split("[")[0])
    return f"{value} {sign} p_{name}" if name else value


def _slots(
    roots: dict[str, int], order: list[int], places: dict[str, str]
) -> tuple[dict[int, str], list[tuple[str, int]]]:
    """Return which operations write directly to an output, and which outputs are copied."""
    slots: dict[int, str] = {}
    copies = []
    for label, i in roots.items():
        if i in order and i not in slots:
            slots[i] = places[label]
        else:
            copies.append((places[label], i))
    return slots, copies


@latest
def compiled_backward(
    task: Task, flows: tuple[bool, ...], wanted: tuple[str, ...]
) -> Callable[..., dict[str, Any]]:
    """``backward(like, steps, x, i_.., p_.., N_.., O_spk, G_.., g_.., d_x) -> {input: gradient}``.

    N, O and G are lists of step tensors; g are the gradients of the last states, which it
    overwrites.

    Args:
        task: the task whose pullback runs; its residual is ``"state"`` or ``"half"``.
        flows: which outputs (spikes, then states) receive a gradient from outside.
        wanted: inputs whose gradient is requested: ``x``, ``p_<parameter>``.
    """
    built = task.program
    fields = task.fields
    saved = fresh(task.program)
    names = {i: n if n[0] in "ps" else "x_t" if n == "x" else "" for n, i in built.inputs.items()}
    body = _Body(built, names | {i: n for n, i in saved.items() if i not in names})
    sources = [i for n, i in built.inputs.items() if n[0] in "xsog"]
    stepwise = built.reached([*sources, *saved.values()])
    roots = {label: built.gradients[label] for label in [*(f"s_{f}" for f in fields), *wanted]}
    _incoming(body, fields, flows)
    summed = [label for label in roots if label[0] == "p" or (label == "x" and task.constant)]
    direct = {label: i for label, i in roots.items() if label not in summed}
    order = body.hoist(built.needed(roots.values(), saved.values()), stepwise)
    slots, copies = _slots(direct, order, {"x": "d_x[t]", **{f"s_{f}": f"a_{f}" for f in fields}})
    body.run(order, slots, set(roots.values()))
    body.lines += [f"{target}.copy_({body.operand(Ref(i))})" for target, i in copies]
    for label in summed:
        body.setup.append(f"sum_{label} = torch.zeros_like(like)")
        body.lines.append(f"sum_{label}.add_({body.operand(Ref(roots[label]))})")
    body.lines += [f"g_{f}, a_{f} = a_{f}, g_{f}" for f in fields]
    return _function(_backward_source(task, body, summed), "backward")


def _incoming(body: _Body, fields: tuple[str, ...], flows: tuple[bool, ...]) -> None:
    """Print the gradients into a step: of its outputs, and for states those of the next step."""
    index = body.program.inputs
    body.names[index["o_spk"]] = "O_spk[t]" if flows[0] else "zero"
    for f, flow in zip(fields, flows[1:], strict=True):
        body.setup.append(f"a_{f} = torch.empty_like(like)")
        body.names[index[f"g_{f}"]] = f"g_{f}"
        if flow:
            body.lines.append(f"torch.add(g_{f}, G_{f}[t], out=g_{f})")


def _backward_source(task: Task, body: _Body, summed: list[str]) -> str:
    fields = task.fields
    arguments = [
        "like",
        "steps",
        "x",
        *(f"i_{f}" for f in fields),
        *(f"p_{p}" for p in task.transition.names),
    ]
    arguments += [*(f"N_{f}" for f in task.keep), "O_spk", *(f"G_{f}" for f in fields)]
    arguments += [*(f"g_{f}" for f in fields), "d_x"]
    first, reads = _reads(task)
    results = [f"{label!r}: sum_{label}" for label in summed] + [f"'s_{f}': g_{f}" for f in fields]
    return (
        f"def backward({', '.join(arguments)}):\n    zero = torch.zeros_like(like)\n"
        f"{_indent(body.setup + first, 4)}\n    for t in reversed(range(steps)):\n"
        f"        x_t = x[t]\n{_indent(reads + body.lines, 8)}\n"
        f"    return {{{', '.join(results)}}}\n"
    )


def _reads(task: Task) -> tuple[list[str], list[str]]:
    """Return lines that read the saved states: lines before the loop, and lines in it."""
    if task.residual != "half":
        lines = [f"n_{f} = N_{f}[t]" for f in task.keep]
        return [], lines + [f"s_{f} = N_{f}[t - 1] if t else i_{f}" for f in task.keep]
    first = []
    lines = []
    for f in task.keep:
        decoded = f"s_{f} = {{}}.to(like.dtype)".format
        first += [decoded(f"N_{f}[steps]"), f"s_{f} = {_offset(task, f's_{f}', '+')}"]
        lines += [f"n_{f} = s_{f}", decoded(f"N_{f}[t]"), f"s_{f} = {_offset(task, f's_{f}', '+')}"]
    return first, lines
