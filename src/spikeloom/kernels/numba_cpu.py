"""Runs the loops of `numba_loop` (extra ``cpu``) on torch tensors of any dense memory order."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..core import checks
from .layout import materialised, ordered, spaced, stacked
from .numba_loop import Memory, compiled_backward, compiled_forward
from .pages import reused
from .task import Call, Flow
from .threads import BLOCK, sweep

__all__ = [
    "Scratch",
    "backward",
    "checking",
    "forward",
    "given_of",
    "last_states",
    "prepared",
    "recomputed",
]

SCRATCH = 2**17  # values of a block that is computed again: half of a second-level cache


def _memory(tensor: Tensor, step: Tensor) -> Memory:
    """Return a step, or steps with gaps or shared memory; copied if they have another order."""
    apart = tensor.dim() > step.dim()
    tensor = spaced(tensor, step) if apart else ordered(tensor, step)
    if tensor.dtype not in (step.dtype, torch.bfloat16):
        raise TypeError(f"the loop computes in {step.dtype}, got {tensor.dtype}")
    return Memory(tensor, tensor.data_ptr(), tensor.stride(0) if apart else 0)


def given_of(call: Call) -> tuple[dict[str, Memory], tuple[bool, ...]]:
    """Return what both directions read, and which parameters have one value for each neuron."""
    step = call.step
    names = call.task.transition.names
    vector = tuple(p.numel() > 1 for p in call.params)
    found = {} if call.x is None else {"X": _memory(call.x, step)}
    found |= {f"S_{f}": _memory(s, step) for f, s in zip(call.task.fields, call.state, strict=True)}
    for name, p, v in zip(names, call.params, vector, strict=True):
        one = materialised(p if p.dtype == step.dtype else p.to(step.dtype))
        found[f"P_{name}"] = (
            _memory(one.expand(step.shape), step) if v else Memory(one, one.data_ptr(), 0)
        )
    return found, vector


def forward(
    call: Call, spk: Tensor, paths: dict[str, Tensor], lasts: dict[str, Tensor], halves: Any
) -> None:
    """Run T steps.

    Args:
        call: the task and its tensors.
        spk: filled with the spikes, [T, B, ...].
        paths: by state, filled with its values over time, [T, B, ...].
        lasts: by state, holds its initial value and is filled with its last, [B, ...].
        halves: by state, filled with its values over time in bfloat16, [1 + T, B, ...]; row 0 is
            not written.
    """
    given, vector = given_of(call)
    given["SPK"] = _memory(spk, call.step)
    for letter, group in (("N", paths), ("L", lasts), ("H", halves)):
        given |= {f"{letter}_{f}": _memory(v, call.step) for f, v in group.items()}
    with checking(call, given, vector) as run:
        sweep(
            lambda start, stop: run(given, call.steps, start, stop), call.step.numel(), call.steps
        )


@contextmanager
def checking(call: Call, given: dict[str, Memory], vector: tuple[bool, ...]) -> Iterator[Any]:
    """Yield the forward loop with spikes, which checks that an input over time is finite.

    A constant input is checked before.

    Args:
        call: the task and its tensors.
        given: the memory that the loop reads; the memory of the result of the check is added.
        vector: which parameters have one value for each neuron.

    Raises:
        ValueError: the input is not finite; one over time is refused at the end of the block.
    """
    name = f"the input of {call.task.transition.neuron.__name__}"
    if call.task.constant and call.x is not None:
        checks.finite(call.x, name)
    bad = call.step.new_zeros(1)
    given["BAD"] = Memory(bad, bad.data_ptr(), 0)
    yield compiled_forward(call.task, vector, True, not call.task.constant)
    if bad and call.x is not None:
        checks.finite(call.x, name)


class Scratch:
    """Memory of the samples that run at a time, which threads use again and again.

    Fresh memory would cost more time than the loops that write it.
    """

    def __init__(self, call: Call, names: Sequence[str]) -> None:
        self.call = call
        self.names = names
        self.free: list[Tensor] = []

    @contextmanager
    def of(self, start: int, stop: int) -> Iterator[dict[str, Memory]]:
        """Lend [T, n] for each name and neurons ``start`` to ``stop``.

        Yields:
            The memory by the names of the loops.
        """
        steps = self.call.steps
        size = stop - start
        needed = len(self.names) * steps * size
        try:
            memory = self.free.pop()
        except IndexError:
            memory = reused((needed,), self.call.step.dtype)
        if memory.numel() < needed:
            memory = reused((needed,), memory.dtype)
        parts = memory[:needed].view(len(self.names), steps, size)
        own = {}
        for name, part in zip(self.names, parts, strict=True):
            # the loops count the neurons of spikes from 0, those of states from ``start``
            before = 0 if name.startswith("N_") else start * part.element_size()
            own[name] = Memory(part, part.data_ptr() - before, size)
        yield own
        self.free.append(memory)


def last_states(call: Call, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Memory]]:
    """Return copies of these states, which the forward loop overwrites, and their memory."""
    states = zip(call.task.fields, call.state, strict=True)
    lasts = {f: ordered(s.detach(), call.step).clone() for f, s in states if f in names}
    return lasts, {f"L_{f}": _memory(v, call.step) for f, v in lasts.items()}


def backward(call: Call, saved: dict[str, Tensor], flow: Flow) -> dict[str, Tensor]:
    """Return the requested gradients and those of the states.

    Gradients of parameters have the shape of one step.

    Args:
        call: the task and its tensors.
        saved: by state, its values over time as the task's residual keeps them.
        flow: incoming gradients, and which gradients are requested.
    """
    given, vector, found = prepared(call, flow)
    letter = "H" if call.task.residual == "half" else "N"
    given |= {f"{letter}_{f}": _memory(v, call.step) for f, v in saved.items()}
    run = compiled_backward(call.task, vector, flow.flows, flow.wanted)
    sweep(lambda start, stop: run(given, call.steps, start, stop), call.step.numel(), call.steps)
    return found


def recomputed(call: Call, flow: Flow) -> dict[str, Tensor]:
    """As `backward`, from the input alone: each block repeats its forward pass in the cache.

    The task's residual is ``"state"``, the values that this forward run writes to that memory.
    """
    given, vector, found = prepared(call, flow)
    task = call.task
    again = compiled_forward(task, vector, False)
    back = compiled_backward(task, vector, flow.flows, flow.wanted)
    block = max(256, min(BLOCK, SCRATCH // (call.steps * max(1, len(task.paths)))))
    given |= last_states(call, task.lasts)[1]

    scratch = Scratch(call, [f"N_{f}" for f in task.paths])

    def work(start: int, stop: int) -> None:
        with scratch.of(start, stop) as own:
            again(given | own, call.steps, start, stop, start)
            back(given | own, call.steps, start, stop, start)

    sweep(work, call.step.numel(), call.steps, block)
    return found


def prepared(
    call: Call, flow: Flow
) -> tuple[dict[str, Memory], tuple[bool, ...], dict[str, Tensor]]:
    """Return the other arguments of a backward pass, which are vectors, and empty gradients."""
    step = call.step
    task = call.task
    given, vector = given_of(call)
    zeros = lambda: torch.empty_like(step).zero_()  # noqa: E731
    found = {n: zeros() for n in flow.wanted if n != "x"}
    if "x" in flow.wanted:
        found["x"] = zeros() if task.constant else stacked(step, call.steps, inside=True)
    given |= {f"D_{n}": _memory(v, step) for n, v in found.items()}
    timed = {n: g for n, g in zip(("spk", *task.fields), flow.timed, strict=True) if g is not None}
    ends = dict(flow.ends) | {f: g[-1] for f, g in timed.items() if f != "spk"}
    carried = {f: ordered(ends[f], step).clone() if f in ends else zeros() for f in task.fields}
    given |= {f"A_{f}": _memory(v, step) for f, v in carried.items()}
    given |= {f"E_{n}": _memory(g, step) for n, g in timed.items()}
    if any(flow.flows[1:]):
        given["NONE"] = _memory(zeros(), step)
    return given, vector, found | {f"s_{f}": v for f, v in carried.items()}
