"""Printer for plain torch: a loop over time without autograd, for every device and without any extra.

Each operation writes into a buffer that is reused as soon as its value is no longer needed, so that a step works on a
few cache-sized arrays; results go straight into the output of that step. What depends on parameters only is computed
once, before the loop; what a step computes of the new state and the next step of the old one is carried over.
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
        self.program, self.names = built, dict(names)
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

    def operand(self, argument: Any) -> str:
        if not isinstance(argument, Ref):
            return repr(argument)
        node = self.program.nodes[argument.index]
        if node.value is not None and argument.index not in self.names:
            self.names[argument.index] = name = f"k{argument.index}"
            self.setup.append(f"{name} = torch.tensor({node.value!r}, dtype={node.dtype})")
        return self.names[argument.index]

    def call(self, node: Node, out: str | None) -> str:
        """The expression of one operation, writing into ``out`` if the operation can."""
        packet, args = node.op, ", ".join(self.operand(a) for a in node.args)
        name = operation(packet)
        if name == "_to_copy":
            return f"{out}.copy_({args})" if out else f"{args}.to({node.dtype})"
        if not hasattr(torch, name) or not any("out" in variant for variant in packet.overloadpacket.overloads()):
            source = f"torch.ops.aten.{packet.__name__}({args})"
            return f"{out}.copy_({source})" if out else source
        if out is None:
            return f"torch.{name}({args})" + (
                f".to({node.dtype})" if name in COMPARISONS and node.dtype != torch.bool else ""
            )
        return f"torch.{name}({args}, out={out})"

    def hoist(self, order: list[int], stepwise: set[int]) -> list[int]:
        """Print what no step changes before the loop; return the rest."""
        for i in order:
            if i not in stepwise and i not in self.names:
                expression = self.call(self.program.nodes[i], None)
                self.setup.append(f"h{i} = {expression}")
                self.names[i] = f"h{i}"
        return [i for i in order if i in stepwise]

    def run(self, order: list[int], slots: dict[int, str], keep: set[int]) -> None:
        """Print ``order``; values in ``slots`` go where it says, those in ``keep`` are never overwritten."""
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
    scope: dict[str, Any] = {"torch": torch, "inf": math.inf, "nan": math.nan}  # as numbers print themselves
    exec(compile(source, f"<spikeloom {name}>", "exec"), scope)
    function = scope[name]
    function.source = source
    return function


@latest
def compiled_forward(task: Task) -> Callable[..., None]:
    """``forward(x, s_<state>.., p_<parameter>.., spk, n_<state>.., h_<state>..)`` over lists of T step tensors.

    The lists h_<state> receive the states that the task keeps in 16 bits; they have T + 1 entries.
    """
    transition, built, fields = task.transition, task.program, task.fields
    outputs = built.forward
    stepwise = built.reached(i for n, i in built.inputs.items() if n[0] in "xs")
    names = {i: n if n[0] in "ps" else "x_t" for n, i in built.inputs.items()}
    body = _Body(built, names)
    order = body.hoist(built.needed(outputs.values()), stepwise)
    carried = _carried(built, order)
    for old, new in carried.items():
        body.setup.append(f"c{new} = torch.empty_like(like)")
        start = _Body(built, body.names)
        start.count = 100 * old
        start.run(body.hoist(built.needed([old]), stepwise), {old: f"c{new}"}, set())
        body.setup += [*start.setup, *start.lines]
        body.names[old] = f"c{new}"
    order = [i for i in built.needed(outputs.values(), given=carried) if i in stepwise]
    slots, copies = _slots(built, {**outputs}, order, {label: f"{label}[t]" for label in outputs})
    extra = [f"c{new} = {slots[new]}" for new in carried.values() if new in slots]
    slots.update({new: f"c{new}" for new in carried.values() if new not in slots})
    body.run(order, slots, set(order) & set(outputs.values()))
    body.lines += [f"{target}.copy_({body.operand(Ref(i))})" for target, i in copies] + extra
    body.lines += [f"h_{f}[t + 1].copy_({_offset(task, f'n_{f}[t]', '-')})" for f in task.halves]
    body.lines += [f"s_{f} = n_{f}[t]" for f in fields]
    arguments = ["x", *(f"s_{f}" for f in fields), *(f"p_{p}" for p in transition.names), *outputs]
    arguments += [f"h_{f}" for f in task.halves]
    source = (
        f"def forward({', '.join(arguments)}):\n    like = spk[0]\n{_indent(body.setup, 4)}\n"
        f"    for t in range(len(spk)):\n        x_t = x[t]\n{_indent(body.lines, 8)}\n"
    )
    return _function(source, "forward")


def _offset(task: Task, value: str, sign: str) -> str:
    name = task.offsets.get(value[2:].split("[")[0])
    return f"{value} {sign} p_{name}" if name else value


def _carried(built: Program, order: list[int]) -> dict[int, int]:
    """Which values of the old state to carry over: outermost, of floating point, read before they are replaced."""
    position = {i: n for n, i in enumerate(order)}
    twins = {i: j for i, j in built.repeats().items() if i in position and j in position}
    readers: dict[int, list[int]] = {}
    for i in order:
        for r in built.nodes[i].refs:
            readers.setdefault(r, []).append(i)
    found: dict[int, int] = {}
    for i, j in twins.items():
        outer = [r for r in readers.get(i, []) if r not in twins]
        if outer and built.nodes[i].dtype.is_floating_point and max(position[r] for r in outer) <= position[j]:
            found[i] = j
    return found


def _slots(
    built: Program, roots: dict[str, int], order: list[int], places: dict[str, str]
) -> tuple[dict[int, str], list[tuple[str, int]]]:
    """Which operation writes straight into its place, and which places are filled by a copy."""
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
    task: Task, flows: tuple[bool, ...], wanted: tuple[str, ...], contract: bool
) -> Callable[..., dict[str, Any]]:
    """``backward(like, steps, x, i_.., p_.., N_.., O_spk, G_.., g_.., d_x) -> {input: gradient}``.

    N, O and G are lists of step tensors; g are the gradients of the last states, which it overwrites.

    Args:
        task: whose pullback to run; its residual is ``"state"`` or ``"half"``.
        flows: which outputs (spikes, then states) receive a gradient from outside.
        wanted: inputs whose gradient is asked for: ``x``, ``p_<parameter>``.
        contract: add products in one operation; numbers are then tensors on the CPU, which other devices refuse.
    """
    return _Backward(task, flows, wanted, contract).function()


class _Backward:
    def __init__(self, task: Task, flows: Any, wanted: tuple[str, ...], contract: bool) -> None:
        self.task, self.flows, self.contract = task, flows, contract
        self.fields, self.constant = task.fields, task.constant
        # contracting rewrites nodes, so that this program is its own copy
        self.built = task.program.specialised({})
        self.saved = fresh(self.built)
        names = {i: n if n[0] in "ps" else "x_t" if n == "x" else "" for n, i in self.built.inputs.items()}
        names |= {i: n for n, i in self.saved.items() if i not in names}
        self.body = _Body(self.built, names)
        incoming = [f"s_{f}" for f in self.fields] + ["x", "o_spk", *(f"g_{f}" for f in self.fields)]
        sources = [i for n, i in self.built.inputs.items() if n in incoming]
        self.stepwise = self.built.reached([*sources, *self.saved.values()])
        self.roots = {f"s_{f}": self.built.gradients[f"s_{f}"] for f in self.fields}
        self.roots |= {w: self.built.gradients[w] for w in wanted}
        self.finish: list[str] = []

    def function(self) -> Callable[..., Any]:
        self.incoming()
        sums = {label: self.peeled(label, i) for label, i in self.roots.items() if label[0] == "p"}
        if self.constant and "x" in self.roots:
            sums["x"] = (self.roots["x"], [])
        direct = {label: i for label, i in self.roots.items() if label not in sums}
        targets = [*direct.values(), *(i for i, _ in sums.values())]
        given = set(self.saved.values())
        if self.contract:
            self.built.contract(targets, given)
        order = self.body.hoist(self.built.needed(targets, given), self.stepwise)
        places = {"x": "d_x[t]", **{f"s_{f}": f"a_{f}" for f in self.fields}}
        slots, copies = _slots(self.built, direct, order, places)
        self.body.run(order, slots, set(targets))
        self.body.lines += [f"{target}.copy_({self.body.operand(Ref(i))})" for target, i in copies]
        for label, (i, tail) in sums.items():
            self.accumulate(label, i, tail)
        self.body.lines += [f"g_{f}, a_{f} = a_{f}, g_{f}" for f in self.fields]
        return self.printed()

    def incoming(self) -> None:
        """What flows in at a step: the gradient of its outputs, and for states what the next step passes back."""
        body, index = self.body, self.built.inputs
        body.names[index["o_spk"]] = "O_spk[t]" if self.flows[0] else "zero"
        for f, flows in zip(self.fields, self.flows[1:], strict=True):
            body.setup += [f"a_{f} = torch.empty_like(like)"]
            body.names[index[f"g_{f}"]] = f"g_{f}"
            if flows:
                body.lines.append(f"torch.add(g_{f}, G_{f}[t], out=g_{f})")

    def peeled(self, label: str, root: int) -> tuple[int, list[Node]]:
        """A sum over time of ``c * v`` is ``c`` times the sum: take factors that no step changes out of the loop."""
        tail: list[Node] = []
        while (node := self.built.nodes[root]).op is not None:
            name = operation(node.op)
            inside = [r for r in node.refs if r in self.stepwise]
            masked = name == "where" and len(inside) == 1 and self.built.nodes[node.refs[2]].value == 0.0
            if len(inside) != 1 or not (name in ("mul", "neg") or (masked and inside[0] == node.refs[1])):
                break
            tail.append(node)
            root = inside[0]
        return root, tail

    def accumulate(self, label: str, root: int, tail: list[Node]) -> None:
        total = f"sum_{label}"
        self.body.setup.append(f"{total} = torch.zeros_like(like)")
        self.body.lines.append(f"{total}.add_({self.body.operand(Ref(root))})")
        for node in reversed(tail):
            names = self.body.names | {root: total}
            outer = _Body(self.built, names)
            outer.names.update({r: total for r in node.refs if r in self.stepwise})
            for r in node.refs:
                if r not in self.stepwise:
                    self.body.hoist(self.built.needed([r]), self.stepwise)
                    outer.names[r] = self.body.operand(Ref(r))
            self.finish.append(f"{total} = {outer.call(node, None)}")

    def printed(self) -> Callable[..., Any]:
        arguments = ["like", "steps", "x", *(f"i_{f}" for f in self.fields)]
        arguments += [f"p_{p}" for p in self.task.transition.names]
        arguments += [*(f"N_{f}" for f in self.task.keep), "O_spk", *(f"G_{f}" for f in self.fields)]
        arguments += [*(f"g_{f}" for f in self.fields), "d_x"]
        first, reads = self.reads()
        results = [
            f"{label!r}: sum_{label}" for label in self.roots if label[0] == "p" or (label == "x" and self.constant)
        ]
        results += [f"'s_{f}': g_{f}" for f in self.fields]
        source = (
            f"def backward({', '.join(arguments)}):\n    zero = torch.zeros_like(like)\n"
            f"{_indent(self.body.setup + first, 4)}\n    for t in reversed(range(steps)):\n"
            f"        x_t = x[t]\n{_indent(reads + self.body.lines, 8)}\n"
            f"{_indent(self.finish, 4)}\n    return {{{', '.join(results)}}}\n"
        )
        return _function(source, "backward")

    def reads(self) -> tuple[list[str], list[str]]:
        """Lines that read the saved states, before the loop and in it: what a step reached, and what it came from."""
        if self.task.residual != "half":
            lines = [f"n_{f} = N_{f}[t]" for f in self.task.keep]
            return [], lines + [f"s_{f} = N_{f}[t - 1] if t else i_{f}" for f in self.task.keep]
        first, lines = [], []
        for f in self.task.keep:
            decoded = f"s_{f} = {{}}.to(like.dtype)".format
            first += [decoded(f"N_{f}[steps]"), f"s_{f} = {_offset(self.task, f's_{f}', '+')}"]
            lines += [f"n_{f} = s_{f}", decoded(f"N_{f}[t]"), f"s_{f} = {_offset(self.task, f's_{f}', '+')}"]
        return first, lines
