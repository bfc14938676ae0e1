"""Printer for numba: a traced program as loops over time and neurons.

Each neuron's step is a few lines of scalar arithmetic, printed in the order of the trace and without contraction or
fast-math, so that spikes, states and gradients are those of the eager loop bit for bit. What runs the loops is in
`numba_cpu`.

Arrays are flat in the neurons: ``X`` input, ``S_`` initial states, ``N_`` states over time, ``L_`` states of which only
the last is kept, ``H_`` states over time in 16 bits (row 0 is the initial one), ``P_`` parameters, ``E_`` gradients
that flow in, ``A_`` gradients of the states, ``D_`` those of input and parameters, ``NONE`` zeros.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch

from .program import Program, Ref
from .scalars import Scalars
from .sources import compiled_module
from .task import Task, fresh, led

__all__ = ["compiled_backward", "compiled_forward"]

_HEADER = """from math import atan, cos, erf, exp, log, sin, sqrt, tanh
import numba
import numpy as np
real, one, zero = np.{real}, np.{real}(1), np.{real}(0)
"""

# bfloat16 is the upper half of float32; rounded to the nearest, ties to even, as torch does
_HALVES = """
@numba.njit(inline='always', error_model='numpy')
def narrow(v):
    b = np.float32(v).view(np.uint32)
    return np.uint16(np.uint32(b + np.uint32(0x7fff) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

@numba.njit(inline='always', error_model='numpy')
def widen(u):
    return real(np.uint32(np.uint32(u) << np.uint32(16)).view(np.float32))
"""


class Load(NamedTuple):
    """How a row reads a value: ``{expression}`` of element ``m`` of ``argument``, which is ``source`` at step t."""

    expression: str
    argument: str = ""
    source: str = ""


class Store(NamedTuple):
    """What a row writes: ``argument[m] operator form(value of node)``."""

    argument: str
    source: str
    node: int
    operator: str = "="
    form: str = "{0}"


@dataclass
class _Loop:
    """Prints two functions: ``row``, one step of a block of neurons, and the loop over time around it.

    They are apart because the compiler vectorises the row of a loop that counts down only then (measured, 3x).
    """

    task: Task
    built: Program
    vector: tuple[bool, ...]
    given: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scalars = Scalars(self.built, {i: n for n, i in self.built.inputs.items()} | self.given)
        self.varying = [p for p, v in zip(self.task.transition.names, self.vector, strict=True) if v]
        inner = [i for n, i in self.built.inputs.items() if n[0] != "p" or n[2:] in self.varying]
        self.inner = self.built.reached([*inner, *self.given])

    def x(self) -> Load:
        return Load("x_[m]", "x_", "X[start:stop]" if self.task.constant else "X[t, start:stop]")

    def offset(self, f: str) -> str:
        """What is subtracted from a state before it is rounded, as an expression; empty if nothing is."""
        if f not in self.task.offsets:
            return ""
        name = f"p_{self.task.offsets[f]}"
        return name if name in self.built.inputs else "one"

    def compiled(self, name: str, order: list[int], loads: dict[str, Load], stores: list[Store]) -> "Compiled":
        """The loop over time; what a row does not read is left out of it."""
        outside = self.scalars.lines([i for i in order if i not in self.inner])
        lines = self.scalars.lines([i for i in order if i in self.inner])
        for s in stores:
            value = s.form.format(self.scalars.operand(Ref(s.node)))
            lines.append(f"{s.argument}[m] {s.operator} {value}")
        used = _named(loads, [line.partition("= ")[2] for line in lines])
        varying = {f"p_{p}": Load(f"p_{p}_[m]", f"p_{p}_", f"P_{p}[start:stop]") for p in self.varying}
        text = [*(line.partition("= ")[2] for line in lines), *(u.expression for u in used.values())]
        used = _named(varying, text) | used  # parameters first: a decoded state reads its offset
        names = [p for p in self.task.transition.names if p not in self.varying]
        fixed = _named({f"p_{p}": Load(f"P_{p}[0]", f"P_{p}", f"P_{p}") for p in names}, [*text, *outside])
        rows = {u.argument: u.source for u in (*used.values(), *stores, *fixed.values()) if u.argument}
        before = [f"{n} = {u.expression}" for n, u in fixed.items()] + outside
        reads = [f"{n} = {u.expression}" for n, u in used.items()]
        arrays = sorted({word for source in rows.values() for word in re.findall(r"\b[A-Z]\w*", source)})
        length = next(s.argument for s in stores)
        module = compiled_module(self.source(name, rows, arrays, before, [*reads, *lines], length))
        return Compiled(getattr(module, name), tuple(arrays))

    def source(
        self, name: str, rows: dict[str, str], arrays: list[str], before: list[str], lines: list[str], length: str
    ) -> str:
        jit = "@numba.njit(nogil=True, error_model='numpy', cache=CACHE)\n"
        text = _HEADER.format(real="float32" if self.task.dtype == torch.float32 else "float64")
        text += _HALVES if self.task.halves else ""
        text += f"\n{jit}def row({', '.join(rows)}):\n{_indent(before, 4)}"
        text += f"    for m in range({length}.shape[0]):\n{_indent(lines, 8)}"
        text += f"\n\n{jit}def {name}({', '.join([*arrays, 'steps', 'start', 'stop', 'base'])}):\n"
        text += f"    for u in range(steps):\n        t = {'steps - 1 - u' if name == 'backward' else 'u'}\n"
        return text + f"        row({', '.join(rows.values())})\n"


class Compiled(NamedTuple):
    """A loop and the names of its arrays; called with ``(arrays by name, steps, start, stop, base)``.

    It runs the neurons from ``start`` to ``stop``; states over time hold those from ``base`` on.
    """

    function: Callable[..., None]
    arrays: tuple[str, ...]

    def __call__(self, given: dict[str, Any], steps: int, start: int, stop: int, base: int = 0) -> None:
        self.function(*(given[name] for name in self.arrays), steps, start, stop, base)


def _indent(lines: list[str], spaces: int) -> str:
    return "".join(" " * spaces + line + "\n" for line in lines)


def _named(loads: dict[str, Load], text: list[str]) -> dict[str, Load]:
    words = set(re.findall(r"\w+", "\n".join(text)))
    return {name: load for name, load in loads.items() if name in words}


def _path(f: str, t: str) -> str:
    return f"N_{f}[{t}, start - base:stop - base]"


@cache
def compiled_forward(task: Task, vector: tuple[bool, ...], spikes: bool) -> Compiled:
    """T steps of a transition.

    Args:
        task: what to run.
        vector: which parameters have one value for each neuron.
        spikes: write them; a backward pass that runs forward once more needs the states only.
    """
    loop, new = _Loop(task, task.program, vector), task.program.forward
    loads = {"x": loop.x()}
    for f in task.fields:
        old = f"S_{f}[start:stop] if t == 0 else {_path(f, 't - 1')}"
        last = Load(f"l_{f}_[m]", f"l_{f}_", f"L_{f}[start:stop]")
        loads[f"s_{f}"] = Load(f"s_{f}_[m]", f"s_{f}_", old) if f in task.paths else last
    stores = [Store("spk_", "SPK[t, start:stop]", new["spk"])] if spikes else []
    for f in task.halves:
        less = loop.offset(f)
        form = f"narrow({{0}} - {less})" if less else "narrow({0})"
        stores.append(Store(f"h_{f}_", f"H_{f}[t + 1, start:stop]", new[f"n_{f}"], form=form))
    stores += [Store(f"n_{f}_", _path(f, "t"), new[f"n_{f}"]) for f in task.paths]
    stores += [Store(f"l_{f}_", f"L_{f}[start:stop]", new[f"n_{f}"]) for f in task.lasts]
    return loop.compiled("forward", task.program.needed(s.node for s in stores), loads, stores)


@cache
def compiled_backward(
    task: Task, vector: tuple[bool, ...], flows: tuple[bool, ...], wanted: tuple[str, ...]
) -> Compiled:
    """T steps of the pullback, the last one first.

    Args:
        task: what to run; its residual is ``"state"`` or ``"half"``.
        vector: which parameters have one value for each neuron.
        flows: which outputs (spikes, then states) receive a gradient from outside.
        wanted: whose gradients are asked for, ``x`` and ``p_<parameter>``; those of the states always are.
    """
    outer = tuple(f for f, flow in zip(task.fields, flows[1:], strict=True) if flow)
    built = led(task, outer)
    saved = fresh(built)
    loop = _Loop(task, built, vector, {i: n for n, i in saved.items()})
    loads = {"x": loop.x(), "o_spk": Load("e_spk_[m]", "e_spk_", "E_spk[t, start:stop]") if flows[0] else Load("zero")}
    for f in task.fields:
        if task.residual == "half":
            less = loop.offset(f)
            form = f"widen({{0}}) + {less}" if less else "widen({0})"
            loads[f"s_{f}"] = Load(form.format(f"s_{f}_[m]"), f"s_{f}_", f"H_{f}[t, start:stop]")
            loads[f"n_{f}"] = Load(form.format(f"n_{f}_[m]"), f"n_{f}_", f"H_{f}[t + 1, start:stop]")
        else:
            old = f"S_{f}[start:stop] if t == 0 else {_path(f, 't - 1')}"
            loads[f"s_{f}"] = Load(f"s_{f}_[m]", f"s_{f}_", old)
            loads[f"n_{f}"] = Load(f"n_{f}_[m]", f"n_{f}_", _path(f, "t"))
        loads[f"g_{f}"] = Load(f"a_{f}_[m]", f"a_{f}_", f"A_{f}[start:stop]")
        before = f"NONE[start:stop] if t == 0 else E_{f}[t - 1, start:stop]"
        loads[f"e_{f}"] = Load(f"e_{f}_[m]", f"e_{f}_", before)
    gradients = {n: built.gradients[n] for n in [*(f"s_{f}" for f in task.fields), *wanted]}
    stores = [Store(f"a_{f}_", f"A_{f}[start:stop]", gradients[f"s_{f}"]) for f in task.fields]
    if "x" in wanted:
        place = ("D_x[start:stop]", "+=") if task.constant else ("D_x[t, start:stop]", "=")
        stores.append(Store("d_x_", place[0], gradients["x"], place[1]))
    sums = [n for n in wanted if n != "x"]
    stores += [Store(f"d_{n}_", f"D_{n}[start:stop]", gradients[n], "+=") for n in sums]
    return loop.compiled("backward", built.needed(gradients.values(), saved.values()), loads, stores)
