"""The form of a rule at spikes: what a spike does to the traces and to a weight, as arithmetic.

A rule's ``terms`` are traced once, for one synapse, and specialised for the four cases of a step: a
spike of the input or none, a spike of the output or none. Where the traces decay by constant
factors and the weight is constant without spikes, nothing needs to be computed between spikes,
whatever the rule. Constants are folded, and a maximum goes where the range of a trace decides it;
both are exact.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...kernels.program import Node, Program, Ref, operation
from ...kernels.scalars import unsupported
from ...kernels.trace import pointwise
from .rule import Rule

__all__ = ["SpikeForm", "folded", "spike_form"]

CASES = ((0, 0), (1, 0), (0, 1), (1, 1))  # a spike of the input, a spike of the output
Range = tuple[float, float]
ANY: Range = (-math.inf, math.inf)
RANGES: tuple[Range, ...] = ((0.0, 1.0), (0.0, math.inf), ANY)  # of a trace, see `_specialised`
POSITIVE = ("abs", "exp", "sigmoid", "square", "relu")  # operations whose results are 0 or more
ENGINE = ("step", "sequence", "collected", "proposed", "apply")  # what an engine relies on


class SpikeForm(NamedTuple):
    """A rule for one synapse.

    The program reads the weight ``w``, and of each trace ``d_<trace>``, its value in this step
    before the spikes of this step, or ``m_<trace>``, its value after the step before.
    """

    pre: tuple[str, ...]  # traces of the input
    post: tuple[str, ...]  # traces of the output
    decays: dict[str, float]  # what is left of a trace after one step
    program: Program
    jumps: dict[str, int]  # a trace after a spike of its side
    changes: dict[tuple[int, int], int | None]  # of the weight, by case; None: none
    # whether spikes of an input change weights of neurons that have not fired in a presentation
    everywhere: bool


@dataclass
class Folded(Program):
    """A program whose constants are computed.

    Args:
        decays: of each trace that is read as ``d_<trace>``.
        ranges: lowest and highest value of each trace.
    """

    decays: dict[str, float] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)

    def read(self, name: str, dtype: torch.dtype) -> int:
        """Add an input, or find it."""
        self.inputs[name] = self.add(Node(name=name, dtype=dtype))
        return self.inputs[name]

    def apply(self, packet: Any, args: tuple[Any, ...], dtype: torch.dtype) -> int:
        name = operation(packet)
        nodes = [self.nodes[a.index] if isinstance(a, Ref) else None for a in args]
        values = [None if n is None else n.value for n in nodes]
        if all(n is None or n.value is not None for n in nodes):
            return self.constant(_value(packet, nodes, args), dtype)
        if name == "add" and 0.0 in values:
            return args[1 - values.index(0.0)].index
        if name == "sub" and values[1] == 0.0:
            return args[0].index
        if name == "pow" and values[1] in (0.0, 1.0):
            return args[0].index if values[1] else self.constant(1.0, dtype)
        if name == "where" and values[0] is not None:
            return args[1 if values[0] else 2].index
        if name == "mul" and (trace := self._decayed(nodes, values)):
            return self.read(f"d_{trace}", dtype)
        if name in ("maximum", "relu", "clamp_min", "clamp") and len(nodes) <= 2:
            decided = self._greater(args, values, dtype)
            if decided is not None:
                return decided
        return super().apply(packet, args, dtype)

    def _decayed(self, nodes: list[Node | None], values: list[float | None]) -> str:
        """The trace that a product with its own decay is; empty for other products."""
        for node, value in zip(nodes, reversed(values), strict=True):
            trace = "" if node is None else node.name.removeprefix("m_")
            if trace in self.decays and node is not None and node.name != trace:
                return trace if value == self.decays[trace] else ""
        return ""

    def _greater(self, args: tuple[Any, ...], values: list[Any], dtype: torch.dtype) -> int | None:
        """The greater of a value and a constant, where the range of the value decides."""
        place = 0 if values[0] is None else 1
        if not isinstance(args[place], Ref):
            return None
        given = [*args, 0.0][1 if place == 0 else 0]  # relu has one argument
        bound = values[1 - place] if isinstance(given, Ref) else given
        if not isinstance(bound, (int, float)):
            return None
        low, high = self.range_of(args[place].index)
        if low >= bound:
            return args[place].index
        return self.constant(bound, dtype) if high <= bound else None

    def range_of(self, index: int) -> Range:
        """The lowest and the highest value that a node can have."""
        node = self.nodes[index]
        if node.value is not None:
            return node.value, node.value
        if node.op is None:
            read = node.name[:2] in ("m_", "d_")  # the name of a trace may equal that of a spike
            return self.ranges.get(node.name[2:], ANY) if read else ANY
        parts = [self.range_of(r) for r in node.refs]
        name = operation(node.op)
        if name == "where":
            return min(low for low, _ in parts[1:]), max(high for _, high in parts[1:])
        if name in ("maximum", "minimum"):
            choose = max if name == "maximum" else min
            return choose(low for low, _ in parts), choose(high for _, high in parts)
        if name == "add":
            return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]
        if name == "mul" and all(low >= 0 for low, _ in parts):
            return parts[0][0] * parts[1][0], _times(parts[0][1], parts[1][1])
        return (0.0, math.inf) if name in POSITIVE else ANY


def _times(a: float, b: float) -> float:
    return a * b if a and b else 0.0  # 0 times infinity


def _value(packet: Any, nodes: list[Node | None], args: tuple[Any, ...]) -> float:
    """The value of an operation on constants, as torch computes it."""
    if operation(packet) == "_to_copy":
        return float(nodes[0].value or 0.0) if nodes[0] is not None else 0.0
    known = [
        a if n is None else torch.tensor(n.value, dtype=n.dtype)
        for n, a in zip(nodes, args, strict=True)
    ]
    return float(packet._overloadpacket(*known))  # the overload that takes only tensors


def folded(built: Folded, source: Program, roots: list[int], values: dict[str, float]) -> list[int]:
    """Add the nodes of ``source`` to ``built``, some inputs being constants; the roots' numbers."""
    moved: list[int] = []
    for node in source.nodes:
        if node.name in values:
            moved.append(built.constant(values[node.name], node.dtype))
        elif node.name:
            moved.append(built.read(node.name, node.dtype))
        elif node.op is None:
            moved.append(built.add(node))
        else:
            args = tuple(Ref(moved[a.index]) if isinstance(a, Ref) else a for a in node.args)
            moved.append(built.apply(node.op, args, node.dtype))
    return [moved[root] for root in roots]


def spike_form(rule: Rule) -> SpikeForm | str:
    """The form of a rule at spikes, or the reason why it has none.

    >>> from spikeloom.learning import PowerLaw, Triplet
    >>> form = spike_form(PowerLaw())
    >>> form.pre, form.post, form.changes[1, 0]
    (('pre',), (), None)
    >>> spike_form(Triplet()).post
    ('post', 'slow')
    """
    for name in ENGINE:
        home = getattr(type(rule), name).__module__.rpartition(".")[0]
        if home != __package__:
            return f"its class overrides {name}"
    sides = _sides(rule)
    if isinstance(sides, str):
        return sides
    pre, post = sides
    traced = _synapse(rule, (*pre, *post))
    if isinstance(traced, str):
        return traced
    source, roots = traced
    for trace, root in zip((*pre, *post), roots, strict=False):
        others = {"w", "post" if trace in pre else "pre", *(f"m_{f}" for f in (*pre, *post))}
        others.remove(f"m_{trace}")
        if root in source.reached(source.inputs[name] for name in others):
            return f"its trace {trace!r} depends on more than itself and the spikes of its side"
    return _specialised(source, roots, pre, post)


def _sides(rule: Rule) -> tuple[tuple[str, ...], tuple[str, ...]] | str:
    """The traces of the input and those of the output, or why they are not known."""
    pre = torch.tensor([[0.0, 1.0]])
    post = torch.tensor([[0.0, 1.0, 0.0]])
    try:
        memory, terms = rule.terms(pre, post, rule.initial)
        named = {f: v for f, v in memory._asdict().items() if v is not None}
        if unknown := [f for f, v in named.items() if v.shape not in (pre.shape, post.shape)]:
            return f"its trace {unknown[0]!r} is neither one of the input nor one of the output"
        zeros = memory._replace(**{f: torch.zeros_like(v) for f, v in named.items()})
        again, same = rule.terms(pre, post, zeros)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return f"its terms cannot be traced ({type(error).__name__}: {first})"
    found = [*(getattr(again, f) for f in named), *(v for t in same for v in (t.pre, t.post))]
    wanted = [*named.values(), *(v for t in terms for v in (t.pre, t.post))]
    if not all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True)):
        return "its traces do not begin at 0"
    sides = [tuple(f for f, v in named.items() if v.shape == s.shape) for s in (pre, post)]
    return sides[0], sides[1]


def _synapse(rule: Rule, traces: tuple[str, ...]) -> tuple[Program, list[int]] | str:
    """The program of one synapse: its new traces, and the change of its weight."""
    kind = type(rule.terms(torch.zeros(1, 1), torch.zeros(1, 1), rule.initial)[0])

    def step(pre: Tensor, post: Tensor, w: Tensor, *memory: Tensor) -> list[Tensor]:
        held = dict.fromkeys(kind._fields) | dict(zip(traces, memory, strict=True))
        new, terms = rule.terms(pre, post, kind(**held))
        change = torch.zeros_like(w)
        for term in terms:
            change = change + term.strength(w) * (term.post * (term.pre + term.shift))
        return [*(getattr(new, f) for f in traces), change]

    labels = ["pre", "post", "w", *(f"m_{f}" for f in traces)]
    return pointwise(step, labels, torch.float32)


def _specialised(
    source: Program, roots: list[int], pre: tuple[str, ...], post: tuple[str, ...]
) -> SpikeForm | str:
    traces = (*pre, *post)
    ranges: dict[str, Range] = dict.fromkeys(traces, RANGES[0])
    while True:  # until the ranges that are taken for granted hold after every spike
        quiet = Folded(ranges=ranges)
        found = folded(quiet, source, roots, {"pre": 0.0, "post": 0.0})
        decays: dict[str, float] = {}
        for trace, root in zip(traces, found, strict=False):
            decay = _factor(quiet, root, trace)
            if decay is None:
                return f"its trace {trace!r} does not decay by a constant factor"
            decays[trace] = decay
        built = Folded(decays=decays, ranges=ranges)
        results = {
            (a, b): folded(built, source, roots, {"pre": float(a), "post": float(b)})
            for a, b in CASES
        }
        jumps = dict(zip(traces, results[1, 1], strict=False))
        wider = {f: _wider(ranges[f], built.range_of(jumps[f])) for f in traces}
        if wider == ranges:
            break
        ranges = wider
    changes: dict[tuple[int, int], int | None] = {
        case: None if built.nodes[result[-1]].value == 0.0 else result[-1]
        for case, result in results.items()
    }
    if changes[0, 0] is not None:
        return "it changes weights in steps without spikes"
    silent = {"pre": 1.0, "post": 0.0, **{f"m_{f}": 0.0 for f in post}}
    alone = folded(built, source, roots, silent)[-1]
    wanted = [*jumps.values(), *(i for i in changes.values() if i is not None)]
    if missing := unsupported(built, built.needed(wanted), powers=True):
        return f"it has no form for {missing}"
    return SpikeForm(
        pre, post, decays, built, jumps, changes, everywhere=built.nodes[alone].value != 0.0
    )


def _wider(taken: Range, found: Range) -> Range:
    """The narrowest of `RANGES` that holds both."""
    low, high = min(taken[0], found[0]), max(taken[1], found[1])
    return next(each for each in RANGES if each[0] <= low and high <= each[1])


def _factor(built: Folded, root: int, trace: str) -> float | None:
    """The factor in [0, 1] by which a trace decays in a step without spikes; None if none."""
    node = built.nodes[root]
    own = built.inputs[f"m_{trace}"]
    factor = node.value if node.value == 0.0 else None
    if root == own:
        factor = 1.0
    if node.op is not None and operation(node.op) == "mul" and own in node.refs:
        others = [built.nodes[r].value for r in node.refs if r != own]
        factor = others[0] if others else None
    known = factor is not None and math.isfinite(factor) and 0 <= factor <= 1
    return factor if known else None
