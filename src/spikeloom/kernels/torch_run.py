"""Runs the loops that `torch_loop` prints, on every device and without any extra."""

from typing import Any

import torch
from torch import Tensor

from .layout import stacked
from .task import Call, Flow
from .torch_loop import compiled_backward, compiled_forward

__all__ = ["backward", "forward", "recomputed"]


def _steps(call: Call) -> Any:
    if call.x is None:
        return [None] * call.steps
    return [call.x] * call.steps if call.task.constant else call.x.unbind(0)


def _parameters(call: Call) -> list[Tensor]:
    return [p.detach().reshape(()) if p.numel() == 1 else p.detach() for p in call.params]


def forward(
    call: Call, spk: Tensor, paths: dict[str, Tensor], lasts: dict[str, Tensor], halves: Any
) -> None:
    """See `numba_cpu.forward`."""
    views: dict[str, Any] = {f: v.unbind(0) for f, v in paths.items()}
    for f, last in lasts.items():
        pair = (
            last,
            torch.empty_like(last),
        )  # a step reads one and writes the other; the last step writes `last`
        views[f] = [pair[(call.steps - 1 - t) % 2] for t in range(call.steps)]
    lists = [
        *(views[f] for f in call.task.fields),
        *(halves[f].unbind(0) for f in call.task.halves),
    ]
    run = compiled_forward(call.task)
    run(_steps(call), *(s.detach() for s in call.state), *_parameters(call), spk.unbind(0), *lists)


def backward(call: Call, saved: dict[str, Tensor], flow: Flow) -> dict[str, Tensor]:
    """See `numba_cpu.backward`."""
    step = call.step
    run = compiled_backward(call.task, flow.flows, flow.wanted)
    dx = (
        stacked(step, call.steps)
        if "x" in flow.wanted and not call.task.constant
        else step.new_empty(0)
    )
    lists = [
        *(saved[f].unbind(0) for f in call.task.keep),
        *(None if g is None else g.unbind(0) for g in flow.timed),
    ]
    states = (s.detach() for s in call.state)
    ends = [
        flow.ends[f].clone() if f in flow.ends else torch.zeros_like(step) for f in call.task.fields
    ]
    found = run(
        step, call.steps, _steps(call), *states, *_parameters(call), *lists, *ends, dx.unbind(0)
    )
    return {"x": dx} | found


def recomputed(call: Call, flow: Flow) -> dict[str, Tensor]:
    """See `numba_cpu.recomputed`; here the whole path is in memory during the backward pass."""
    paths = {f: stacked(call.step, call.steps) for f in call.task.paths}
    states = zip(call.task.fields, call.state, strict=True)
    lasts = {f: s.clone() for f, s in states if f in call.task.lasts}
    forward(call, stacked(call.step, call.steps), paths, lasts, {})
    return backward(call, paths, flow)
