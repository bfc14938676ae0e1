"""Running the loops that `numba_loop` prints (extra ``cpu``): torch tensors in, in any dense memory order."""

from typing import Any

import torch
from torch import Tensor

from .layout import flat, ordered, stacked
from .numba_loop import compiled_backward, compiled_forward
from .task import Call, Flow
from .threads import BLOCK, sweep

__all__ = ["backward", "forward", "recomputed"]

SCRATCH = 2**17  # values that a block may hold which runs forward once more: half of a second-level cache


def _array(tensor: Tensor, step: Tensor) -> Any:
    tensor = flat(ordered(tensor.detach(), step), step)
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _given(call: Call) -> tuple[dict[str, Any], tuple[bool, ...]]:
    """The arrays that both directions read, and which parameters have one value for each neuron."""
    step, names = call.step, call.task.transition.names
    vector = tuple(p.numel() > 1 for p in call.params)
    arrays = {} if call.x is None else {"X": _array(call.x, step)}
    arrays |= {f"S_{f}": _array(s, step) for f, s in zip(call.task.fields, call.state, strict=True)}
    for name, p, v in zip(names, call.params, vector, strict=True):
        arrays[f"P_{name}"] = _array(p.expand(step.shape), step) if v else p.detach().reshape(1).numpy()
    return arrays, vector


def forward(call: Call, spk: Tensor, paths: dict[str, Tensor], lasts: dict[str, Tensor], halves: Any) -> None:
    """Run T steps.

    Args:
        call: what to run, on what.
        spk: filled with the spikes, [T, B, ...].
        paths: by state, filled with its values over time, [T, B, ...].
        lasts: by state, holds its initial value and is filled with its last, [B, ...].
        halves: by state, filled with its values over time in bfloat16, [1 + T, B, ...]; row 0 is not written.
    """
    arrays, vector = _given(call)
    run = compiled_forward(call.task, vector, True)
    arrays["SPK"] = _array(spk, call.step)
    for letter, group in (("N", paths), ("L", lasts), ("H", halves)):
        arrays |= {f"{letter}_{f}": _array(v, call.step) for f, v in group.items()}
    sweep(lambda start, stop: run(arrays, call.steps, start, stop), call.step.numel(), call.steps)


def backward(call: Call, saved: dict[str, Tensor], flow: Flow) -> dict[str, Tensor]:
    """Gradients of what is wanted and of the states; those of parameters in the shape of one step.

    Args:
        call: what ran.
        saved: by state, its values over time as the task's residual keeps them.
        flow: what flows in and what is wanted.
    """
    arrays, vector, found = _backward(call, flow)
    letter = "H" if call.task.residual == "half" else "N"
    arrays |= {f"{letter}_{f}": _array(v, call.step) for f, v in saved.items()}
    run = compiled_backward(call.task, vector, flow.flows, flow.wanted)
    sweep(lambda start, stop: run(arrays, call.steps, start, stop), call.step.numel(), call.steps)
    return found


def recomputed(call: Call, flow: Flow) -> dict[str, Tensor]:
    """As `backward`, from the input alone: each block runs forward once more, in memory that stays in the cache.

    The task's residual is ``"state"``: what the forward run leaves in that memory.
    """
    arrays, vector, found = _backward(call, flow)
    task = call.task
    again, back = compiled_forward(task, vector, False), compiled_backward(task, vector, flow.flows, flow.wanted)
    block = max(256, min(BLOCK, SCRATCH // (call.steps * max(1, len(task.paths)))))
    lasts = {f: s.clone() for f, s in zip(task.fields, call.state, strict=True) if f in task.lasts}
    arrays |= {f"L_{f}": _array(v, call.step) for f, v in lasts.items()}

    def work(start: int, stop: int) -> None:
        scratch = torch.empty(len(task.paths), call.steps, stop - start, dtype=task.dtype).numpy()
        mine = arrays | {f"N_{f}": scratch[i] for i, f in enumerate(task.paths)}
        again(mine, call.steps, start, stop, start)
        back(mine, call.steps, start, stop, start)

    sweep(work, call.step.numel(), call.steps, block)
    return found


def _backward(call: Call, flow: Flow) -> tuple[dict[str, Any], tuple[bool, ...], dict[str, Tensor]]:
    """The arrays of a backward pass but for the states, which parameters are vectors, and the gradients to fill."""
    step, task = call.step, call.task
    arrays, vector = _given(call)
    zeros = lambda: torch.empty_like(step).zero_()  # noqa: E731
    found = {n: zeros() for n in flow.wanted if n != "x"}
    if "x" in flow.wanted:
        found["x"] = zeros() if task.constant else stacked(step, call.steps)
    arrays |= {f"D_{n}": _array(v, step) for n, v in found.items()}
    timed = {n: g for n, g in zip(("spk", *task.fields), flow.timed, strict=True) if g is not None}
    ends = dict(flow.ends) | {f: g[-1] for f, g in timed.items() if f != "spk"}
    carried = {f: ordered(ends[f], step).clone() if f in ends else zeros() for f in task.fields}
    arrays |= {f"A_{f}": _array(v, step) for f, v in carried.items()}
    arrays |= {f"E_{n}": _array(g, step) for n, g in timed.items()}
    if any(flow.flows[1:]):
        arrays["NONE"] = _array(zeros(), step)
    return arrays, vector, found | {f"s_{f}": v for f, v in carried.items()}
