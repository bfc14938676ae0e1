"""A task: what a loop over time computes and saves for the backward pass, for all printers.

There are three residuals. ``"state"`` keeps the values of the states that the pullback reads.
``"half"`` keeps them in bfloat16; a state that is compared with a parameter is saved as its
distance from the parameter, because rounding keeps the sign of a distance and thereby the spikes.
``"input"`` keeps the input and runs forward again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.transition import TRANSITIONS, Transition
from .program import Program, latest
from .trace import program

__all__ = [
    "Call",
    "Flow",
    "Reads",
    "Task",
    "fresh",
    "labels",
    "needed",
    "reads",
    "reads_of",
    "task_of",
    "with_outer_gradients",
]


class Reads(NamedTuple):
    """What a pullback reads from the forward pass."""

    fields: tuple[str, ...]  # states whose values over time it needs
    x: bool  # whether it needs the input


@dataclass(frozen=True)
class Task:
    """What to print.

    Args:
        transition: the transition whose steps run.
        dtype: type of the arithmetic and the states.
        ones: parameters whose value is exactly 1; products with them are omitted.
        constant: the input is the same at every step.
        path: every state over time is returned, not only the last.
        residual: what the backward pass starts from; "" if there is no backward pass.
        keep: the states that it needs, if they are saved.
    """

    transition: Transition
    dtype: torch.dtype
    ones: tuple[str, ...] = ()
    constant: bool = False
    path: bool = True
    residual: str = "state"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = [getattr(self, f.name) for f in fields(self)]
        # Cached, because every call of a layer needs it to find its loops
        object.__setattr__(self, "_hash", hash(tuple(values)))

    def __hash__(self) -> int:
        return self._hash  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def fields(self) -> tuple[str, ...]:
        return self.transition.neuron.State._fields

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the states whose values over time are written in full precision."""
        if self.path:
            return self.fields
        return self.keep if self.residual == "state" else ()

    @property
    def lasts(self) -> tuple[str, ...]:
        """Return the states of which only the last value is written."""
        return tuple(f for f in self.fields if f not in self.paths)

    @property
    def halves(self) -> tuple[str, ...]:
        """Return the states whose values over time, initial one included, are in 16 bits."""
        return self.keep if self.residual == "half" else ()

    @property
    def offsets(self) -> dict[str, str]:
        """Return for states in 16 bits the parameter that is subtracted first."""
        return self.transition.compared()

    @property
    def program(self) -> Program:
        """Return the traced program, specialised for parameters that are 1."""
        return _specialised(self.transition, self.dtype, self.ones)


@latest
def with_outer_gradients(task: Task, fields: tuple[str, ...]) -> Program:
    """Return the program in which gradients of old states in ``fields`` start with ``e_f``.

    ``e_f`` comes from outside the loop.

    Autograd adds in this order in the plain loop, so that the sum rounds in the same way.
    """
    built = task.program.specialised({})
    for f in fields:
        built.gradients[f"s_{f}"] = built.joined[f"s_{f}"]
    return built


@latest
def _specialised(transition: Transition, dtype: torch.dtype, ones: tuple[str, ...]) -> Program:
    built = program(transition, dtype)
    if isinstance(built, str):
        raise RuntimeError(f"{transition.neuron.__name__}: {built}")
    return built.specialised({f"p_{name}": 1.0 for name in ones})


def fresh(built: Program) -> dict[str, int]:
    """Return the new states that a step computes, by name; the backward pass reads them."""
    return {n: i for n, i in built.forward.items() if n != "spk" and built.nodes[i].op is not None}


@latest
def reads(transition: Transition, dtype: torch.dtype, wanted: tuple[str, ...]) -> Reads:
    """Return what the backward pass reads for gradients ``wanted``: ``x``, ``p_<parameter>``."""
    built = _specialised(transition, dtype, ())
    fields = transition.neuron.State._fields
    roots = [built.gradients[n] for n in dict.fromkeys([*(f"s_{f}" for f in fields), *wanted])]
    given = fresh(built)
    order = built.needed(roots, given.values())
    seen = {*roots, *(r for i in order for r in built.nodes[i].refs)}
    read = tuple(
        f for f in fields if built.inputs[f"s_{f}"] in seen or given.get(f"n_{f}", -1) in seen
    )
    return Reads(read, built.inputs["x"] in seen)


@latest
def labels(transition: Transition) -> tuple[str, ...]:
    """Return the names of differentiable values: ``x``, ``s_<state>``, ``p_<parameter>``."""
    return (
        "x",
        *(f"s_{f}" for f in transition.neuron.State._fields),
        *(f"p_{p}" for p in transition.names),
    )


def needed(transition: Transition, flags: Sequence[bool]) -> tuple[str, ...]:
    """Return the names of values that need a gradient; the states always do."""
    return tuple(n for n, flag in zip(labels(transition), flags, strict=True) if flag)


def reads_of(transition: Transition, dtype: torch.dtype, names: tuple[str, ...]) -> Reads:
    """As `reads`, for names among `labels`."""
    return reads(transition, dtype, tuple(n for n in names if n[0] != "s"))


@latest
def task_of(
    key: str,
    dtype: torch.dtype,
    ones: tuple[str, ...],
    constant: bool,
    path: bool,
    residual: str,
    wanted: Any,
) -> Task:
    """Return the task; ``wanted``, one flag for each of `labels`, decides what is saved."""
    transition = TRANSITIONS[key]
    keep = reads_of(transition, dtype, needed(transition, wanted)).fields if any(wanted) else ()
    return Task(transition, dtype, ones, constant, path, residual if any(wanted) else "", keep)


@dataclass
class Call:
    """A task and its tensors.

    Args:
        task: what to run.
        x: [T, B, ...], or [B, ...] where it is constant; None in a backward pass that does not read
            it.
        steps: T.
        state: initial states, [B, ...].
        params: in the order of the transition's names.
        step: a tensor whose shape, memory order, dtype and device are those of one step of every
            state.
        dtype: type of the input and the spikes; the type of the states for printers that support
            only one type.
    """

    task: Task
    x: Tensor | None
    steps: int
    state: Sequence[Tensor]
    params: Sequence[Tensor]
    step: Tensor
    dtype: torch.dtype


class Flow(NamedTuple):
    """The incoming gradients of a backward pass, and the requested ones."""

    timed: Sequence[
        Tensor | None
    ]  # gradients of the spikes and of each state over time, [T, B, ...]
    ends: Mapping[str, Tensor]  # gradients of last states, [B, ...]
    wanted: tuple[str, ...]  # "x" and "p_<parameter>"

    @property
    def flows(self) -> tuple[bool, ...]:
        """Return which gradients over time exist."""
        return tuple(g is not None for g in self.timed)
