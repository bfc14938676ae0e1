"""Prints what the event-driven engine computes at spikes and in steps.

A rule becomes two functions: the change of the weights and of the traces of the outputs at the
spikes of a step, and that of the traces of the inputs; traces are brought up to date where they are
read. A neuron becomes three: how far a layer is above its threshold, a step of a
layer without spikes, and the step of one neuron that fires; which neurons fire is decided in
between, because it may depend on all of them. All are compiled as first-class functions, arguments
of the loops in `event_loop`.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core.neuron import Neuron
from ...core.transition import Transition
from ...kernels.program import Program, Ref
from ...kernels.scalars import Scalars, unsupported
from ...kernels.sources import first_class
from ...kernels.trace import pointwise
from ..stdp.spike_form import Folded, SpikeForm, folded

__all__ = ["Cell", "cell_of", "plasticity_source"]

HEADER = """from math import atan, cos, erf, exp, log, sin, sqrt, tanh
import numba
import numpy as np
real, one, zero = np.float32, np.float32(1), np.float32(0)

@numba.njit(inline='always', error_model='numpy')
def decayed(value, since, now, table):
    k = now - since
    return value * table[k] if k < table.shape[0] else zero
"""

RULE = """
def plasticity(w, s, rule, rows, who, fired, t):
    low, high = rule.w_min, rule.w_max
    k, tables, pre, pre_at, post, post_at = rule.k, rule.tables, s.pre, s.pre_at, s.post, s.post_at
{names}
    for f in range(fired):
        j = who[f]
{at_post}
        for e in range(rows.shape[0]):  # inputs that spike too are written last
            i = rows[e]
{at_pre}
            old = w[i, j]
{both}
            s.aside[e] = min(max({both_result}, low), high)
        for i in range(w.shape[0]):
{at_pre}
            old = w[i, j]
{output}
            w[i, j] = min(max({output_result}, low), high)
        for e in range(rows.shape[0]):
            w[rows[e], j] = s.aside[e]
    for f in range(fired):
        j = who[f]
        if s.size[0] < w.shape[1] and post_at[j] == {never}:
            s.learners[s.size[0]] = j
            s.size[0] += 1
{at_post}
{jump_post}
        post_at[j] = t
{input_spikes}

def trace(rows, pre, pre_at, tables, k, t):
{names}
    for e in range(rows.shape[0]):
        i = rows[e]
{at_pre_early}
{jump_pre}
        pre_at[i] = t
"""

INPUT_SPIKES = """
    for n in range(s.size[0]):
        j = s.learners[n]
        if post_at[j] == t:
            continue
{at_post}
        for e in range(rows.shape[0]):
            i = rows[e]
{at_pre}
            old = w[i, j]
{input}
            w[i, j] = min(max({input_result}, low), high)
"""

LAYER = """
def excess(x, s, over, k):
{names}
    for j in range(x.shape[0]):
{excess_loads}
{excess}
        over[j] = {excess_result}

def rests(x, s, steps, k):
{names}
    for t in range(steps):
        for j in range(x.shape[0]):
{rests}

def fires(x, s, fresh, j, column, k):
{names}
{fires}
"""


class _Printer:
    """Prints parts of one program; all read their constants from one array."""

    def __init__(self, program: Program, rename: dict[str, str]) -> None:
        self.program = program
        self.names = {i: rename.get(n, n) for n, i in program.inputs.items()}
        self.numbers: list[float] = []

    def part(self, roots: list[int], depth: int) -> tuple[str, list[str]]:
        """The lines that compute nodes, and the expressions of their values."""
        scalars = Scalars(self.program, self.names, given=True)
        scalars.numbers = self.numbers
        lines = scalars.lines(self.program.needed(roots))
        return _indented(lines, depth), [scalars.operand(Ref(root)) for root in roots]

    def reads(self, *roots: int | None) -> set[str]:
        """Names of the inputs that nodes are computed from."""
        known = [root for root in roots if root is not None]
        order = self.program.needed(known)
        used = {*known, *(r for i in order for r in self.program.nodes[i].refs)}
        return {name for i, name in self.names.items() if i in used}

    def constants(self) -> list[str]:
        return [f"k{i} = k[{i}]" for i in range(len(self.numbers))]


def _indented(lines: list[str], depth: int) -> str:
    return "\n".join(" " * depth + line for line in lines)


def plasticity_source(form: SpikeForm, never: int) -> tuple[str, np.ndarray]:
    """The text of ``plasticity`` and ``trace``, and the constants that they read from ``k``.

    Args:
        form: of the rule.
        never: the step of a spike that has not happened.
    """
    printer = _Printer(form.program, {"w": "old"})

    def loads(side: str, index: str, roots: list[int | None], depth: int) -> str:
        wanted = printer.reads(*roots)
        traces = form.pre if side == "pre" else form.post
        found = []
        for row, trace in enumerate(traces):
            held = f"{side}[{row}, {index}], {side}_at[{index}]"
            if f"d_{trace}" in wanted:
                found.append(f"d_{trace} = decayed({held}, t, T_{trace})")
            if f"m_{trace}" in wanted:
                found.append(f"m_{trace} = decayed({held}, t - 1, T_{trace})")
        return _indented(found, depth)

    def change(case: tuple[int, int], depth: int) -> tuple[str, str]:
        root = form.changes[case]
        if root is None:
            return "", "old"
        lines, (result,) = printer.part([root], depth)
        return lines, f"old + {result}"

    def jump(side: str, traces: tuple[str, ...], index: str) -> str:
        found = []
        for row, trace in enumerate(traces):
            lines, (result,) = printer.part([form.jumps[trace]], 8)
            found += [lines] if lines else []
            found.append(f"        {side}[{row}, {index}] = {result}")
        return "\n".join(found)

    at_output = [form.changes[0, 1], form.changes[1, 1]]
    jumps_post = [form.jumps[trace] for trace in form.post]
    both, both_result = change((1, 1), 12)
    output, output_result = change((0, 1), 12)
    by_input = form.changes[1, 0]
    input_spikes = ""
    if by_input is not None:
        lines, result = change((1, 0), 12)
        input_spikes = INPUT_SPIKES.format(
            at_post=loads("post", "j", [by_input], 8),
            at_pre=loads("pre", "i", [by_input], 12),
            input=lines,
            input_result=result,
        )
    body = {
        "at_post": loads("post", "j", [*at_output, *jumps_post], 8),
        "at_pre": loads("pre", "i", at_output, 12),
        "at_pre_early": loads("pre", "i", [form.jumps[trace] for trace in form.pre], 8),
        "both": both,
        "both_result": both_result,
        "output": output,
        "output_result": output_result,
        "jump_post": jump("post", form.post, "j"),
        "jump_pre": jump("pre", form.pre, "i"),
        "input_spikes": input_spikes,
        "never": never,
    }
    names = [f"T_{trace} = tables[{row}]" for row, trace in enumerate((*form.pre, *form.post))]
    names += printer.constants()
    text = HEADER + RULE.format(names=_indented(names, 4), **body)
    return text, np.array(printer.numbers, np.float32)


class Cell(NamedTuple):
    """A layer of neurons as compiled functions."""

    excess: Any  # (x, s, over, k): how far each neuron is above its threshold
    rests: Any  # (x, s, steps, k): steps without spikes
    # (x, s, fresh, j, column, k): states of neuron j in the step in which it fires, into ``fresh``
    fires: Any
    k: np.ndarray  # the constants that all three read
    fields: tuple[str, ...]  # rows of the states


def cell_of(neuron: Neuron, params: Any) -> Cell:
    """A layer of a neuron.

    Args:
        neuron: provides the transition.
        params: its parameters, one value each.

    Raises:
        RuntimeError: its equations have no scalar form.
    """
    values = tuple((f"p_{name}", float(value)) for name, value in params._asdict().items())
    return _cell(neuron.transition, type(params), values)


@lru_cache(maxsize=64)
def _cell(transition: Transition, params: Any, known: tuple[tuple[str, float], ...]) -> Cell:
    state_of = transition.neuron.State
    values = dict(known)
    fields = state_of._fields
    count = len(fields)

    def step(x: Tensor, *rest: Tensor) -> list[Tensor]:
        state = state_of(*rest[:count])
        spk = rest[count]
        excess: list[Tensor] = []

        def chosen(over: Tensor) -> Tensor:  # a spike where the loop says so
            excess.append(over)
            return spk

        fixed = replace(transition, inhibition=False, surrogate=chosen)
        _, new = fixed(x, state, params(*rest[count + 1 :]))
        return [excess[-1], *new]

    traced = pointwise(step, ["x", *(f"s_{f}" for f in fields), "spk", *values], torch.float32)
    if isinstance(traced, str):
        raise RuntimeError(f"{transition.neuron.__name__}: {traced}")
    built = Folded()
    quiet = folded(built, *traced, {"spk": 0.0, **values})
    fired = folded(built, *traced, {"spk": 1.0, **values})
    if missing := unsupported(built, built.needed([*quiet, *fired[1:]]), powers=True):
        raise RuntimeError(f"{transition.neuron.__name__} has no form for {missing}")
    source, numbers = _layer_source(built, fields, quiet, fired)
    from numba import types

    vector = types.float32[::1]
    matrix = types.float32[:, ::1]
    excess = first_class(source, "excess", (vector, matrix, vector, vector))
    rests = first_class(source, "rests", (vector, matrix, types.int64, vector))
    one = (vector, matrix, matrix, types.int64, types.int64, vector)
    return Cell(excess, rests, first_class(source, "fires", one), numbers, fields)


def _layer_source(
    built: Program, fields: tuple[str, ...], quiet: list[int], fired: list[int]
) -> tuple[str, np.ndarray]:
    rename = {"x": "x_j"} | {f"s_{f}": f"s_{f}_j" for f in fields}
    printer = _Printer(built, rename)

    def loads(roots: list[int], depth: int) -> str:
        wanted = printer.reads(*roots)
        return _indented([f"{n} = {n[:-2]}[j]" for n in rename.values() if n in wanted], depth)

    def step(roots: list[int], depth: int, target: str) -> str:
        lines, results = printer.part(roots, depth)
        stores = [
            target.format(f, row, r) for row, (f, r) in enumerate(zip(fields, results, strict=True))
        ]
        # a state that does not change needs no store
        changed = [
            a
            for a, f, root in zip(stores, fields, roots, strict=True)
            if root != built.inputs[f"s_{f}"]
        ]
        return "\n".join([loads(roots, depth), lines, _indented(changed, depth)])

    excess, (excess_result,) = printer.part(quiet[:1], 8)
    body = {
        "excess_loads": loads(quiet[:1], 8),
        "excess": excess,
        "excess_result": excess_result,
        "rests": step(quiet[1:], 12, "s_{0}[j] = {2}"),
        "fires": step(fired[1:], 4, "fresh[{1}, column] = {2}"),
    }
    names = [*printer.constants(), *(f"s_{f} = s[{row}]" for row, f in enumerate(fields))]
    text = HEADER + LAYER.format(names=_indented(names, 4), **body)
    return text, np.array(printer.numbers, np.float32)
