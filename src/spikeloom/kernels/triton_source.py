"""Prints a traced program as two Triton kernels: one forward, one backward, each a loop over time.

A program instance processes a block of neurons. Their state, and in the backward kernel the
gradient for the previous step, stay in registers; every array is read or written once. Each
neuron's gradients of parameters are summed over time in registers too and written once; torch
computes the sum over neurons, in one order.

Arrays are named as in the other printers: ``X`` input, ``S_<state>`` initial states, ``SPK``
spikes, ``N_<state>`` paths of states, ``L_<state>`` last states, ``P_<parameter>``, ``E_<output>``
incoming gradients, ``D_<input>`` outgoing ones. The source depends on which arrays exist, but not
on their types: loads convert to the type of the arithmetic, stores to the type of the array.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from .program import Program, Ref
from .scalars import Scalars, triton_dialect
from .task import Task, fresh, with_outer_gradients

__all__ = ["Target", "backward_source", "forward_source"]


@dataclass(frozen=True)
class Target:
    """What a kernel is printed for.

    Args:
        cuda: print what torch computes on CUDA, see `triton_dialect`; else what it computes on the
            CPU.
        functions: module that ``libdevice`` is imported from.
    """

    cuda: bool = True
    functions: str = "triton.language.extra"


_LAST = "base + tl.cast(steps - 1, tl.int64) * {}"  # start of the last step; 32 bits may overflow


class _Kernel:
    """Lines of one kernel: before, in and after the loop over time."""

    def __init__(
        self,
        task: Task,
        built: Program,
        vector: tuple[bool, ...],
        target: Target,
        flowing: Sequence[str] = (),
    ) -> None:
        self.task = task
        self.built = built
        self.vector = vector
        self.target = target
        # arrays over time from outside: their steps may have gaps between them or share memory
        self.moving = [*["X"] * (not task.constant), *(f"E_{n}" for n in flowing)]
        self.real = "tl.float32" if task.dtype == torch.float32 else "tl.float64"
        names = {i: n for n, i in built.inputs.items()}
        self.scalars = Scalars(built, names, triton_dialect(task.dtype, target.cuda))
        self.stepwise = built.reached(i for n, i in built.inputs.items() if n[0] != "p")
        self.before: list[str] = []
        self.inside: list[str] = []
        self.after: list[str] = []

    def load(self, array: str, at: str = "base", mask: str = "inside") -> str:
        """Return the expression that reads a block of an array."""
        return f"tl.load({array} + {at} + lane, mask={mask}, other=0.0).to({self.real})"

    def parameters(self, order: list[int], used: set[str]) -> None:
        """Print loads of the used parameters, and the values that depend only on them."""
        for name, vector in zip(self.task.transition.names, self.vector, strict=True):
            if f"p_{name}" in used:
                array = f"P_{name}"
                source = self.load(array) if vector else f"tl.load({array}).to({self.real})"
                self.before.append(f"p_{name} = {source}")
        self.before += self.scalars.lines([i for i in order if i not in self.stepwise])

    def input(self, used: set[str]) -> None:
        """Print the load of the input, once if it is the same at every step."""
        if "x" in used and self.task.constant:
            self.before.append(f"x = {self.load('X')}")
        elif "x" in used:
            self.inside.append(f"x = {self.load('X', 'at_X')}")

    def offset(self, f: str) -> str:
        """Return the name of the value subtracted from a state before rounding, or ""."""
        name = f"p_{self.task.offsets[f]}" if f in self.task.offsets else ""
        return name if not name or name in self.built.inputs else "one"

    def used(self, order: list[int], roots: Iterable[int] = ()) -> set[str]:
        """Return the names of the inputs that operations read, or that are requested themselves."""
        numbers = {r for i in order for r in self.built.nodes[i].refs} | set(roots)
        return {self.scalars.names[i] for i in numbers if i in self.scalars.names}

    def block(self, index: int) -> str:
        """Return a value of the program, broadcast to one for each neuron."""
        text = self.scalars.operand(Ref(index))
        return text if index in self.stepwise else f"tl.broadcast_to({text}, [BLOCK])"

    def source(self, name: str, arrays: Sequence[str], backwards: bool) -> str:
        """Return the text of the module."""
        lengths = [f"step_{a}" for a in self.moving]
        parameters = [f"P_{p}" for p in self.task.transition.names]
        arguments = [*arrays, *parameters, "steps", "size", *lengths, "BLOCK: tl.constexpr"]
        start = _LAST if backwards else "base"
        positions = [
            f"at = {start.format('size')}",
            *(f"at_{a} = {start.format(f'step_{a}')}" for a in self.moving),
        ]
        sign = "-" if backwards else "+"
        moves = [f"at = at {sign} size", *(f"at_{a} = at_{a} {sign} step_{a}" for a in self.moving)]
        return (
            "import triton\nimport triton.language as tl\n"
            f"from {self.target.functions} import libdevice\n\n\n"
            f'@triton.jit(do_not_specialize=["steps"])\ndef {name}({", ".join(arguments)}):\n'
            + _indented(
                [
                    "base = tl.program_id(0).to(tl.int64) * BLOCK",
                    "lane = tl.arange(0, BLOCK)",
                    "inside = lane < size - base",
                    f"one = {self.scalars.number(1.0)}",
                    f"zero = {self.scalars.number(0.0)}",
                    *self.before,
                    *positions,
                    "for u in range(steps):",
                    # a choice instead of a conjunction, which the interpreter would give the type
                    # of ``u``
                    *["    earlier = tl.where(u + 1 < steps, inside, lane < 0)"] * backwards,
                    *(f"    {line}" for line in [*self.inside, *moves]),
                    *self.after,
                ]
            )
        )


def forward_source(task: Task, vector: tuple[bool, ...], target: Target, spikes: bool) -> str:
    """Module with ``forward``: arrays X, S.., SPK, N.., L.., H.., P.., then lengths.

    Args:
        task: what to print.
        vector: which parameters have one value for each neuron.
        target: what to print it for.
        spikes: write them; a backward pass that runs forward once more needs the states only.
    """
    built = task.program
    kernel = _Kernel(task, built, vector, target)
    roots = [i for n, i in built.forward.items() if spikes or n != "spk"]
    order = built.needed(roots)
    used = kernel.used(order, roots)
    kernel.parameters(order, used | {kernel.offset(f) for f in task.halves})
    kernel.before += [f"s_{f} = {kernel.load(f'S_{f}')}" for f in task.fields]
    kernel.input(used)
    kernel.inside += kernel.scalars.lines([i for i in order if i in kernel.stepwise])
    kernel.inside += [f"n_{f} = {kernel.block(built.forward[f'n_{f}'])}" for f in task.fields]
    stores = [("SPK", "at", kernel.block(built.forward["spk"]))] if spikes else []
    stores += [(f"N_{f}", "at", f"n_{f}") for f in task.paths]
    stores += [
        (f"H_{f}", "at + size", " - ".join(filter(None, [f"n_{f}", kernel.offset(f)])))
        for f in task.halves
    ]
    kernel.inside += [
        f"tl.store({array} + {at} + lane, {value}, mask=inside)" for array, at, value in stores
    ]
    kernel.inside += [f"s_{f} = n_{f}" for f in task.fields]
    kernel.after += [f"tl.store(L_{f} + base + lane, s_{f}, mask=inside)" for f in task.lasts]
    arrays = [
        "X",
        *(f"S_{f}" for f in task.fields),
        *["SPK"] * spikes,
        *(f"N_{f}" for f in task.paths),
    ]
    return kernel.source(
        "forward",
        [*arrays, *(f"L_{f}" for f in task.lasts), *(f"H_{f}" for f in task.halves)],
        False,
    )


def backward_source(
    task: Task,
    vector: tuple[bool, ...],
    target: Target,
    flows: tuple[bool, ...],
    ends: tuple[str, ...],
    wanted: tuple[str, ...],
) -> str:
    """Module with ``backward``: arrays X, S.., N.. or H.., E.., A.., D.., P.., then lengths.

    Args:
        task: what to print; its residual is ``"state"`` or ``"half"``.
        vector: as for `forward_source`.
        target: as for `forward_source`.
        flows: which outputs (spikes, then states) receive a gradient from outside over time.
        ends: states whose last value receives one, ``A_<state>``.
        wanted: inputs whose gradient is requested, ``x`` and ``p_<parameter>``; those of the states
            always are.
    """
    fields = task.fields
    flowing = [n for n, v in zip(("spk", *task.fields), flows, strict=True) if v]
    built = with_outer_gradients(task, tuple(f for f in fields if f in flowing))
    kernel = _Kernel(task, built, vector, target, flowing)
    saved = fresh(built)
    kernel.scalars.names |= {i: n for n, i in saved.items()}
    roots = {n: built.gradients[n] for n in [*wanted, *(f"s_{f}" for f in fields)]}
    if "x" in wanted and task.constant:
        roots["x"] = built.joined["x"]
    order = built.needed(roots.values(), saved.values())
    used = kernel.used(order, roots.values())
    kernel.parameters(order, used | {kernel.offset(f) for f in task.halves})
    for f in task.keep:
        _states(kernel, f, {n for n in (f"s_{f}", f"n_{f}") if n in used})
    kernel.input(used)
    if "o_spk" in used:
        value = (
            kernel.load("E_spk", "at_E_spk")
            if "spk" in flowing
            else f"tl.zeros([BLOCK], {kernel.real})"
        )
        kernel.inside.append(f"o_spk = {value}")
    for f in fields:
        _flow(kernel, f, f in flowing, f in ends)
    sums = [n for n in wanted if n != "x" or task.constant]
    kernel.before += [f"d_{n} = tl.zeros([BLOCK], {kernel.real})" for n in sums]
    kernel.inside += ["e_x = d_x"] * ("x" in sums)
    kernel.inside += kernel.scalars.lines([i for i in order if i in kernel.stepwise])
    _results(kernel, roots)
    kernel.inside += [f"n_{f} = s_{f}" for f in fields if {f"s_{f}", f"n_{f}"} <= used]
    letter = "H" if task.residual == "half" else "N"
    arrays = [
        "X",
        *(f"S_{f}" for f in fields),
        *(f"{letter}_{f}" for f in task.keep),
        *(f"E_{n}" for n in flowing),
    ]
    return kernel.source(
        "backward", [*arrays, *(f"A_{f}" for f in ends), *(f"D_{n}" for n in roots)], True
    )


def _states(kernel: _Kernel, f: str, used: set[str]) -> None:
    """Print loads of a state before and after each step; the old state is the previous new one."""
    half = kernel.task.residual == "half"  # has one more row: the first is the initial state
    offset = f" + {kernel.offset(f)}" if half and kernel.offset(f) else ""
    array, row = (f"H_{f}", "{} + size") if half else (f"N_{f}", "{}")
    if f"n_{f}" in used:
        both = f"s_{f}" in used
        place = kernel.load(array, row.format(_LAST.format("size") if both else "at"))
        (kernel.before if both else kernel.inside).append(f"n_{f} = {place}{offset}")
    if f"s_{f}" in used and half:
        kernel.inside.append(f"s_{f} = {kernel.load(array, 'at')}{offset}")
    elif f"s_{f}" in used:
        kernel.before.append(f"first_{f} = {kernel.load(f'S_{f}')}")
        kernel.inside.append(
            f"s_{f} = tl.where(earlier, {kernel.load(array, '(at - size)', 'earlier')}, first_{f})"
        )


def _flow(kernel: _Kernel, f: str, timed: bool, end: bool) -> None:
    """Print the gradient of a new state, ``a_<state>``: the next step's plus the outer one."""
    start = kernel.load(f"A_{f}") if end else f"tl.zeros([BLOCK], {kernel.real})"
    if timed:
        start = kernel.load(f"E_{f}", _LAST.format(f"step_E_{f}"))
        kernel.inside.append(
            f"e_{f} = {kernel.load(f'E_{f}', f'(at_E_{f} - step_E_{f})', 'earlier')}"
        )
    kernel.before.append(f"a_{f} = {start}")
    kernel.inside.append(f"g_{f} = a_{f}")


def _results(kernel: _Kernel, roots: dict[str, int]) -> None:
    """Print stores of a step's gradients, of sums over the steps, and of the states' gradients."""
    states = [label[2:] for label in roots if label[0] == "s"]
    for label, index in roots.items():
        if label[0] == "s":
            kernel.inside.append(f"b_{label[2:]} = {kernel.block(index)}")
        elif label == "x" and not kernel.task.constant:
            kernel.inside.append(f"tl.store(D_x + at + lane, {kernel.block(index)}, mask=inside)")
        else:
            total = "" if label == "x" else f"d_{label} + "  # the input's already contains the sum
            kernel.inside.append(f"d_{label} = {total}{kernel.block(index)}")
            kernel.after.append(f"tl.store(D_{label} + base + lane, d_{label}, mask=inside)")
    kernel.inside += [f"a_{f} = b_{f}" for f in states]
    kernel.after += [f"tl.store(D_s_{f} + base + lane, a_{f}, mask=inside)" for f in states]


def _indented(lines: Sequence[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)
