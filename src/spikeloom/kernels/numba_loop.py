"""Printer for numba: a traced program as loops over time and neurons.

Each neuron's step is a few lines of scalar arithmetic, printed in the order of the trace and
without contraction or fast-math, so that spikes, states and gradients are those of the eager loop
bit for bit, but for exponentials, logarithms and the like, which torch computes with functions of
its own. `sources` compiles what is printed, `numba_cpu` runs it.

Memory is addressed by pointers and is flat in the neurons: ``X`` input, ``S_`` initial states,
``N_`` states over time, ``L_`` states of which only the last is stored, ``H_`` states over time in
16 bits (row 0 is the initial one), ``P_`` parameters, ``K`` numbers, ``E_`` incoming gradients,
``A_`` gradients of the states, ``D_`` those of input and parameters, ``NONE`` zeros. ``w_X`` is the
distance between the steps of ``X``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from .places import Load, Place, Store, before, element, once, path, timed
from .program import Program, Ref, latest
from .scalars import Scalars
from .sources import compiled_function
from .task import Task, fresh, with_outer_gradients

__all__ = ["Memory", "compiled_backward", "compiled_forward"]

_HEADER = """from math import atan, cos, erf, exp, log, sin, sqrt, tanh
import numba
import numpy as np
floor = np.floor
real, one, zero = np.{real}, np.{real}(1), np.{real}(0)
"""

# bfloat16 is the upper half of float32; rounded to the nearest, ties to even, as torch does
_HALVES = """
@numba.njit(inline='always', error_model='numpy')
def narrow(v):
    b = np.float32(v).view(np.uint32)
    ties = (b >> np.uint32(16)) & np.uint32(1)
    return np.uint16(np.uint32(b + np.uint32(0x7fff) + ties) >> np.uint32(16))

@numba.njit(inline='always', error_model='numpy')
def widen(u):
    return real(np.uint32(np.uint32(u) << np.uint32(16)).view(np.float32))
"""

# a number is NaN or infinite if all bits of its exponent are set: one more is then carried into the
# sign's place
_BITS = {
    torch.float32: {"whole": "uint32", "size": 0x7FFFFFFF, "last": 0x00800000, "sign": 31},
    torch.float64: {
        "whole": "uint64",
        "size": 0x7FFFFFFFFFFFFFFF,
        "last": 0x0010000000000000,
        "sign": 63,
    },
}
_LOOK = [  # numba widens sums of whole numbers, which would halve the vectors
    "bits = np.{whole}((real(x).view(np.{whole}) & np.{whole}({size})) + np.{whole}({last}))",
    "seen = np.{whole}(seen | bits)",
]
_LOOKED = ["if seen >> np.{whole}({sign}):", "    BAD[0] = one"]


@dataclass
class _Loop:
    """Prints two functions: ``row``, one step of a block of neurons, and the loop over time.

    They are apart because the compiler vectorises the row of a loop that counts down only then
    (measured, 3x).
    """

    task: Task
    built: Program
    vector: tuple[bool, ...]
    given: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {i: n for n, i in self.built.inputs.items()} | self.given
        self.scalars = Scalars(self.built, names, given=True)
        self.varying = [
            p for p, v in zip(self.task.transition.names, self.vector, strict=True) if v
        ]
        inner = [i for n, i in self.built.inputs.items() if n[0] != "p" or n[2:] in self.varying]
        self.inner = self.built.reached([*inner, *self.given])

    def x(self) -> Load:
        return Load("x_", once("X") if self.task.constant else timed("X", "t"))

    def offset(self, f: str) -> str:
        """What is subtracted from a state before it is rounded, as an expression, or ""."""
        if f not in self.task.offsets:
            return ""
        name = f"p_{self.task.offsets[f]}"
        return name if name in self.built.inputs else "one"

    def compiled(
        self,
        name: str,
        order: list[int],
        loads: dict[str, Load],
        stores: list[Store],
        checks_input: bool = False,
    ) -> "Compiled":
        """Print the loop over time, without unused arguments; see `compiled_forward`."""
        outside = self.scalars.lines([i for i in order if i not in self.inner])
        lines = self.scalars.lines([i for i in order if i in self.inner])
        for s in stores:
            value = s.form.format(self.scalars.operand(Ref(s.node)))
            lines.append(f"{element(s.argument)} {s.operator} {value}")
        bits = _BITS[self.task.dtype]
        lines += [line.format(**bits) for line in _LOOK] if checks_input else []
        used = _named(loads, [line.partition("= ")[2] for line in lines])
        varying = {f"p_{p}": Load(f"p_{p}_", once(f"P_{p}")) for p in self.varying}
        text = [
            *(line.partition("= ")[2] for line in lines),
            *(u.expression for u in used.values()),
        ]
        used = _named(varying, text) | used  # parameters first: a decoded state reads its offset
        names = [p for p in self.task.transition.names if p not in self.varying]
        fixed = _named({f"p_{p}": Load(form=f"P_{p}[0]") for p in names}, [*text, *outside])
        places = {u.argument: u.place for u in (*used.values(), *stores) if u.place}
        numbers = torch.tensor(self.scalars.numbers, dtype=self.task.dtype)
        before = [f"k{i} = K[{i}]" for i in range(len(numbers))]
        before += [f"{n} = {u.expression}" for n, u in fixed.items()] + outside
        reads = [f"{n} = {u.expression}" for n, u in used.items()]
        shared = (
            [f"P_{p}" for p in names if f"p_{p}" in fixed]
            + ["BAD"] * checks_input
            + ["K"] * (len(numbers) > 0)
        )
        if checks_input:
            before.append("seen = np.{whole}(0)".format(**bits))
        after = [line.format(**bits) for line in _LOOKED] if checks_input else []
        arrays = sorted(
            {*shared, *_words(r"\b[A-Z]\w*", [place.pointer for place in places.values()])}
        )
        widths = sorted(_words(r"\bw_(\w+)", [place.first for place in places.values()]))
        source = self.source(
            name, places, shared, (arrays, widths), (before, [*reads, *lines], after)
        )
        function = compiled_function(
            source, name, _signature(arrays, len(widths) + 4, self.task.dtype)
        )
        return Compiled(
            function, tuple(arrays), tuple(widths), Memory(numbers, numbers.data_ptr(), 0)
        )

    def source(
        self,
        name: str,
        places: dict[str, Place],
        shared: list[str],
        given: tuple[list[str], list[str]],
        body: tuple[list[str], list[str], list[str]],
    ) -> str:
        """Return the text of both functions.

        Args:
            name: name of the loop.
            places: memory of values that differ between neurons, by argument of the row.
            shared: parameters that all neurons share.
            given: names of all memory, and of memory with gaps between the steps.
            body: lines of the row before, in and after the loop over neurons.
        """
        arrays, widths = given
        options = "error_model='numpy', no_cpython_wrapper=True, no_cfunc_wrapper=True"
        text = _HEADER.format(real="float32" if self.task.dtype == torch.float32 else "float64")
        text += _HALVES if self.task.halves else ""
        rows = [*(word for a in places for word in (a, f"{a}first")), *shared, "n"]
        text += f"\n@numba.njit({options})\ndef row({', '.join(rows)}):\n{_indent(body[0], 4)}"
        text += f"    for m in range(n):\n{_indent(body[1], 8)}{_indent(body[2], 4)}"
        numbers = [*(f"w_{a}" for a in widths), "steps", "start", "stop", "base"]
        text += f"\n\ndef {name}({', '.join([*arrays, *numbers])}):\n"
        step = "steps - 1 - u" if name == "backward" else "u"
        text += f"    for u in range(steps):\n        t = {step}\n"
        text += _indent([f"{a}, {a}first = {p.pointer}, {p.first}" for a, p in places.items()], 8)
        return text + f"        row({', '.join([*rows[:-1], 'stop - start'])})\n"


class Memory(NamedTuple):
    """A tensor as a loop reads it."""

    tensor: torch.Tensor  # keeps the memory alive
    address: int
    width: int  # elements from one step to the next


class Compiled(NamedTuple):
    """A loop, the memory that it reads, and the memory whose distance between steps it needs.

    It runs the neurons from ``start`` to ``stop``; states over time hold the neurons from ``base``
    on.
    """

    function: Callable[..., None]
    arrays: tuple[str, ...]
    widths: tuple[str, ...]
    numbers: Memory  # constants, ``K``

    def __call__(
        self, given: dict[str, Memory], steps: int, start: int, stop: int, base: int = 0
    ) -> None:
        memory = given | {"K": self.numbers}
        widths = [memory[name].width for name in self.widths]
        self.function(
            *[memory[name].address for name in self.arrays], *widths, steps, start, stop, base
        )


def _signature(arrays: list[str], numbers: int, dtype: torch.dtype) -> tuple[Any, ...]:
    from numba import types

    wide = types.CPointer(types.float32 if dtype == torch.float32 else types.float64)
    half = types.CPointer(types.uint16)
    return *(half if a.startswith("H_") else wide for a in arrays), *[types.int64] * numbers


def _indent(lines: list[str], spaces: int) -> str:
    return "".join(" " * spaces + line + "\n" for line in lines)


def _named(loads: dict[str, Load], text: list[str]) -> dict[str, Load]:
    words = set(re.findall(r"\w+", "\n".join(text)))
    return {name: load for name, load in loads.items() if name in words}


def _words(pattern: str, texts: list[str]) -> set[str]:
    return {word for text in texts for word in re.findall(pattern, text)}


@latest
def compiled_forward(
    task: Task, vector: tuple[bool, ...], spikes: bool, checks_input: bool = False
) -> Compiled:
    """T steps of a transition.

    Args:
        task: what to run.
        vector: which parameters have one value for each neuron.
        spikes: write the spikes; a backward pass that runs forward again needs only the states.
        checks_input: write 1 to ``BAD`` if an input is NaN or infinite.
    """
    loop = _Loop(task, task.program, vector)
    new = task.program.forward
    loads = {"x": loop.x()}
    for f in task.fields:
        old = Load(f"s_{f}_", before(once(f"S_{f}"), path(f, "t - 1")))
        loads[f"s_{f}"] = old if f in task.paths else Load(f"l_{f}_", once(f"L_{f}"))
    stores = [Store("spk_", timed("SPK", "t"), new["spk"])] if spikes else []
    for f in task.halves:
        less = loop.offset(f)
        form = f"narrow({{0}} - {less})" if less else "narrow({0})"
        stores.append(Store(f"h_{f}_", timed(f"H_{f}", "t + 1"), new[f"n_{f}"], form=form))
    stores += [Store(f"n_{f}_", path(f, "t"), new[f"n_{f}"]) for f in task.paths]
    stores += [Store(f"l_{f}_", once(f"L_{f}"), new[f"n_{f}"]) for f in task.lasts]
    return loop.compiled(
        "forward", task.program.needed(s.node for s in stores), loads, stores, checks_input
    )


@latest
def compiled_backward(
    task: Task, vector: tuple[bool, ...], flows: tuple[bool, ...], wanted: tuple[str, ...]
) -> Compiled:
    """T steps of the pullback, the last one first.

    Args:
        task: what to run; its residual is ``"state"`` or ``"half"``.
        vector: which parameters have one value for each neuron.
        flows: which outputs (spikes, then states) receive a gradient from outside.
        wanted: which gradients are requested, ``x`` and ``p_<parameter>``; those of the states
            always are.
    """
    outer = tuple(f for f, flow in zip(task.fields, flows[1:], strict=True) if flow)
    built = with_outer_gradients(task, outer)
    saved = fresh(built)
    loop = _Loop(task, built, vector, {i: n for n, i in saved.items()})
    loads = {
        "x": loop.x(),
        "o_spk": Load("e_spk_", timed("E_spk", "t")) if flows[0] else Load(form="zero"),
    }
    for f in task.fields:
        if task.residual == "half":
            less = loop.offset(f)
            form = f"widen({{0}}) + {less}" if less else "widen({0})"
            loads[f"s_{f}"] = Load(f"s_{f}_", timed(f"H_{f}", "t"), form)
            loads[f"n_{f}"] = Load(f"n_{f}_", timed(f"H_{f}", "t + 1"), form)
        else:
            loads[f"s_{f}"] = Load(f"s_{f}_", before(once(f"S_{f}"), path(f, "t - 1")))
            loads[f"n_{f}"] = Load(f"n_{f}_", path(f, "t"))
        loads[f"g_{f}"] = Load(f"a_{f}_", once(f"A_{f}"))
        loads[f"e_{f}"] = Load(f"e_{f}_", before(once("NONE"), timed(f"E_{f}", "t - 1")))
    gradients = {n: built.gradients[n] for n in [*(f"s_{f}" for f in task.fields), *wanted]}
    stores = [Store(f"a_{f}_", once(f"A_{f}"), gradients[f"s_{f}"]) for f in task.fields]
    if "x" in wanted:
        place = (once("D_x"), "+=") if task.constant else (timed("D_x", "t"), "=")
        stores.append(Store("d_x_", place[0], gradients["x"], place[1]))
    sums = [n for n in wanted if n != "x"]
    stores += [Store(f"d_{n}_", once(f"D_{n}"), gradients[n], "+=") for n in sums]
    return loop.compiled(
        "backward", built.needed(gradients.values(), saved.values()), loads, stores
    )
