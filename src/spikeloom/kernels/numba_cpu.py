"""Printer for numba: loops over time and neurons in registers, for the CPU (extra ``cpu``).

Each neuron's step is a few lines of scalar arithmetic, printed from the traced program in its order and without
contraction or fast-math, so that spikes and states are those of the eager loop bit for bit. Neurons are processed in
blocks whose state stays in the second-level cache; large tensors are split over threads.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..core.transition import Transition
from .program import Program, Ref
from .scalars import Scalars, unsupported
from .sources import compiled_module
from .trace import program

__all__ = ["backward", "forward", "unsupported"]

BLOCK = 32768  # neurons; smaller blocks halve the bandwidth that is reached, larger ones fall out of the cache
PARALLEL = 1_000_000  # neuron steps below which a second thread does not pay

_HEADER = """from math import atan, cos, erf, exp, log, sin, sqrt, tanh
import numba
import numpy as np
real, one, zero = np.{real}, np.{real}(1), np.{real}(0)
"""


def _indent(lines: Sequence[str], spaces: int) -> str:
    return "".join(" " * spaces + line + "\n" for line in lines)


class _Loop:
    """Prints two functions: ``row``, one step of a block of neurons, and the loop over time around it.

    They are apart because the compiler vectorises the row of a loop that counts down only then (measured, 3x).
    """

    def __init__(self, transition: Transition, built: Program, vector: tuple[bool, ...], constant: bool) -> None:
        self.fields, self.params, self.constant = transition.neuron.State._fields, transition.names, constant
        self.built = built
        self.scalars = Scalars(built, {i: n for n, i in built.inputs.items()})
        self.varying = [p for p, v in zip(self.params, vector, strict=True) if v]
        inner = [i for n, i in built.inputs.items() if n[0] != "p" or n[2:] in self.varying]
        self.inner = built.reached(inner)

    def body(self, order: list[int], loads: dict[str, str], stores: dict[str, int]) -> tuple[list[str], list[str]]:
        """Lines before the loop over neurons, and lines of it.

        Args:
            order: operations to print.
            loads: array that holds each value, by its name; those that nobody reads are left out.
            stores: number of the value for each target, such as ``"spk[m] ="``.
        """
        outside = self.scalars.lines([i for i in order if i not in self.inner])
        inside = self.scalars.lines([i for i in order if i in self.inner])
        inside += [f"{target} {self.scalars.operand(Ref(i))}" for target, i in stores.items()]
        words = set(re.findall(r"\w+", "\n".join(line.partition("= ")[2] for line in inside)))
        reads = [f"{name} = {source}" for name, source in loads.items() if name in words]
        fixed = [f"p_{p} = P_{p}[0]" for p in self.params if p not in self.varying and f"p_{p}" in self.built.inputs]
        return [*fixed, *outside], [*reads, *inside]

    def source(
        self, name: str, dtype: Any, lines: tuple[list[str], list[str]], rows: dict[str, str], arrays: list[str]
    ) -> str:
        """The two functions.

        Args:
            name: of the loop over time.
            dtype: of all arrays.
            lines: of `body`.
            rows: argument of ``row`` and what it is at step ``t``.
            arrays: arguments of the loop.
        """
        jit = "@numba.njit(nogil=True, error_model='numpy', cache=CACHE)\n"
        parameters = [f"P_{p}" for p in self.params]
        passed = [f"P_{p}[start:stop]" if p in self.varying else f"P_{p}" for p in self.params]
        order = "t = SPK.shape[0] - 1 - u" if name == "backward" else "t = u"
        return (
            f"{_HEADER.format(real=_real(dtype))}\n{jit}def row({', '.join([*rows, *parameters])}):\n"
            + _indent(lines[0], 4)
            + f"    for m in range({next(iter(rows))}.shape[0]):\n"
            + _indent(lines[1], 8)
            + f"\n\n{jit}def {name}({', '.join([*arrays, *parameters])}, start, stop):\n"
            + f"    for u in range(SPK.shape[0]):\n        {order}\n"
            + f"        row({', '.join([*rows.values(), *passed])})\n"
        )

    def given(self) -> dict[str, str]:
        """What a step reads in both directions, as arguments of ``row``."""
        x = "X[start:stop]" if self.constant else "X[t, start:stop]"
        old = "{n}_{f}[start:stop] if t == 0 else N_{f}[t - 1, start:stop]"
        return {"x_": x, **{f"s_{f}_": old.format(n="S", f=f) for f in self.fields}}

    def arrays(self) -> list[str]:
        return ["X", *(f"S_{f}" for f in self.fields), "SPK", *(f"N_{f}" for f in self.fields)]


@cache
def _forward(
    transition: Transition, dtype: Any, ones: Any, vector: tuple[bool, ...], constant: bool
) -> Callable[..., None]:
    loop = _Loop(transition, _specialised(transition, dtype, ones), vector, constant)
    built, fields = loop.built, loop.fields
    loads = {"x": "x_[m]", **{f"s_{f}": f"s_{f}_[m]" for f in fields}, **{f"p_{p}": f"P_{p}[m]" for p in loop.varying}}
    stores = {f"{n}_[m] =": i for n, i in built.forward.items()}
    lines = loop.body(built.needed(built.forward.values()), loads, stores)
    outputs = {"spk_": "SPK[t, start:stop]", **{f"n_{f}_": f"N_{f}[t, start:stop]" for f in fields}}
    return compiled_module(loop.source("forward", dtype, lines, loop.given() | outputs, loop.arrays())).forward


@cache
def _backward(
    transition: Transition,
    dtype: Any,
    ones: Any,
    vector: tuple[bool, ...],
    constant: bool,
    flows: tuple[bool, ...],
    wanted: tuple[str, ...],
) -> Callable[..., None]:
    loop = _Loop(transition, _specialised(transition, dtype, ones), vector, constant)
    built, fields = loop.built, loop.fields
    saved = {n: i for n, i in built.forward.items() if n != "spk" and built.nodes[i].op is not None}
    loop.scalars.names |= {i: n for n, i in saved.items()}
    roots = {f"s_{f}": built.gradients[f"s_{f}"] for f in fields} | {w: built.gradients[w] for w in wanted}
    loads = {"x": "x_[m]", **{f"s_{f}": f"s_{f}_[m]" for f in fields}, **{n: f"{n}_[m]" for n in saved}}
    loads |= {f"p_{p}": f"P_{p}[m]" for p in loop.varying} | {"o_spk": "e_spk_[m]" if flows[0] else "zero"}
    loads |= {f"g_{f}": f"a_{f}_[m]" + f" + e_{f}_[m]" * v for f, v in zip(fields, flows[1:], strict=True)}
    place = {f"s_{f}": f"a_{f}_[m] =" for f in fields} | {"x": "d_x_[m] +=" if constant else "d_x_[m] ="}
    place |= {f"p_{p}": f"d_p_{p}_[m] +=" for p in loop.params}
    lines = loop.body(built.needed(roots.values(), saved.values()), loads, {place[n]: i for n, i in roots.items()})
    flowing = [n for n, v in zip(("spk", *fields), flows, strict=True) if v]
    sums = [n for n in wanted if n[0] == "p"]
    rows = {f"a_{f}_": f"A_{f}[start:stop]" for f in fields} | loop.given()
    rows |= {f"n_{f}_": f"N_{f}[t, start:stop]" for f in fields} | {f"e_{n}_": f"E_{n}[t, start:stop]" for n in flowing}
    rows |= {f"d_{n}_": f"D_{n}[start:stop]" for n in sums}
    if "x" in wanted:
        rows["d_x_"] = "D_x[start:stop]" if constant else "D_x[t, start:stop]"
    arrays = [
        *loop.arrays(),
        *(f"E_{n}" for n in flowing),
        "D_x",
        *(f"A_{f}" for f in fields),
        *(f"D_{n}" for n in sums),
    ]
    return compiled_module(loop.source("backward", dtype, lines, rows, arrays)).backward


def _real(dtype: torch.dtype) -> str:
    return "float32" if dtype == torch.float32 else "float64"


def _specialised(transition: Transition, dtype: Any, ones: tuple[str, ...]) -> Program:
    built = program(transition, dtype)
    assert isinstance(built, Program)  # the backend refuses what has none
    return built.specialised({f"p_{name}": 1.0 for name in ones})


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="spikeloom")


def _sweep(function: Callable[..., None], arrays: list[Any], size: int, steps: int) -> None:
    """Run over blocks of neurons, in several threads where that pays."""
    blocks = [(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    workers = torch.get_num_threads()
    if workers == 1 or size * steps < PARALLEL:
        for start, stop in blocks:
            function(*arrays, start, stop)
        return
    function(*arrays, 0, 0)  # compiles once, not in every thread
    if len(blocks) < workers:
        width = -(-size // workers)
        blocks = [(start, min(start + width, size)) for start in range(0, size, width)]
    list(_pool(workers).map(lambda block: function(*arrays, *block), blocks))


def _rows(tensor: Tensor) -> Any:
    return tensor.detach().flatten(1).numpy() if tensor.dim() > 1 else tensor.detach().numpy()


def _row(tensor: Tensor) -> Any:
    return tensor.detach().reshape(-1).numpy()


def _parameters(params: Sequence[Tensor], step: torch.Size) -> tuple[list[Any], tuple[bool, ...]]:
    vector = tuple(p.numel() > 1 for p in params)
    spread = [
        p.detach().expand(step).contiguous() if v else p.detach().contiguous()
        for p, v in zip(params, vector, strict=True)
    ]
    return [_row(p) for p in spread], vector


def forward(
    transition: Transition,
    x: Tensor,
    num_steps: int,
    state: Any,
    params: Any,
    ones: Any,
    spk: Tensor,
    paths: list[Tensor],
) -> None:
    """Fill ``spk`` and ``paths``, [T, B, ...] and contiguous, with the result of T steps."""
    constant, step = num_steps > 0, spk.shape[1:]
    arrays, vector = _parameters(params, step)
    run = _forward(transition, x.dtype, ones, vector, constant)
    x = x.contiguous()
    first = [_row(x) if constant else _rows(x), *(_row(s.contiguous()) for s in state)]
    _sweep(run, [*first, _rows(spk), *map(_rows, paths), *arrays], step.numel(), len(spk))


def backward(
    transition: Transition,
    x: Tensor,
    num_steps: int,
    state: Any,
    params: Any,
    ones: Any,
    outputs: Sequence[Tensor],
    grads: Sequence[Tensor],
    wanted: tuple[str, ...],
) -> dict[str, Tensor]:
    """Gradients of what is ``wanted`` and of the states; those of parameters in the shape of one step."""
    constant, step = num_steps > 0, outputs[0].shape[1:]
    fields = transition.neuron.State._fields
    flows = tuple(g.numel() > 0 for g in grads)
    arrays, vector = _parameters(params, step)
    run = _backward(transition, x.dtype, ones, vector, constant, flows, wanted)
    x = x.contiguous()
    dx = torch.zeros(step, dtype=x.dtype) if constant else torch.empty(outputs[0].shape, dtype=x.dtype)
    found = {"x": dx, **{f"s_{f}": torch.zeros(step, dtype=x.dtype) for f in fields}}
    found |= {n: torch.zeros(step, dtype=x.dtype) for n in wanted if n[0] == "p"}
    first = [_row(x) if constant else _rows(x), *(_row(s.contiguous()) for s in state)]
    flowing = [_rows(g.contiguous()) for g, f in zip(grads, flows, strict=True) if f]
    last = [_row(dx) if constant else _rows(dx), *(_row(found[f"s_{f}"]) for f in fields)]
    last += [_row(found[n]) for n in wanted if n[0] == "p"]
    _sweep(run, [*first, *map(_rows, outputs), *flowing, *last, *arrays], step.numel(), len(outputs[0]))
    return found
