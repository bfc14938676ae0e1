"""Runs the kernels of `triton_source` on CUDA, or for tests in Triton's interpreter.

The state is in registers in its own type, float32 or float64; 16-bit input is widened when it is
read, and spikes have the type of the input. There is no fast-math and no contraction: in float32
and float64 a kernel rounds as the eager loop does. Nothing here reads a value back from the device,
so that a call can be captured in a CUDA graph.
"""

import importlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core import checks
from .layout import ordered, spaced, stacked
from .scalars import obstacle
from .sources import compiled_module
from .task import Call, Flow, Task

if TYPE_CHECKING:
    from .triton_source import Target

__all__ = ["available", "backward", "forward", "interpreting", "obstacle", "recomputed", "refusal"]

THREADS = 128  # of a program instance: four warps
BYTES = 16  # that a thread reads from one array at once: the widest load
PROGRAMS = 256  # with fewer instances, some of the processors of a large GPU stay idle


@cache
def interpreting() -> bool:
    """Whether Triton's interpreter is on; Triton decides that when it is imported."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@cache
def available() -> str | None:
    """Return why no kernel can run on this machine, or None."""
    if not checks.installed("triton"):
        return "triton is not installed; it comes with a PyTorch that is built for CUDA"
    if not interpreting() and not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    return None


def refusal(x: Tensor, dtype: torch.dtype) -> str | None:
    """Return why a kernel does not support an input with states of type ``dtype``, or None."""
    device = "cpu" if interpreting() else "cuda"
    if x.device.type != device:
        why = "its interpreter is on (TRITON_INTERPRET=1), which" if interpreting() else "it"
        return f"{why} computes on {device}, got {x.dtype} on {x.device}"
    if dtype not in (torch.float32, torch.float64):
        return (
            f"it keeps states in float32 or float64, got {dtype}; input in 16 bits is served "
            "under torch.autocast"
        )
    return None


def forward(
    call: Call, spk: Tensor, paths: dict[str, Tensor], lasts: dict[str, Tensor], halves: Any
) -> None:
    """See `numba_cpu.forward`; here the spikes may be narrower than the states."""
    _forward(call, [spk], [*paths.values(), *lasts.values(), *halves.values()])


def backward(call: Call, saved: dict[str, Tensor], flow: Flow) -> dict[str, Tensor]:
    """See `numba_cpu.backward`."""
    step = call.step
    task = call.task
    timed = [spaced(g, step) for g in flow.timed if g is not None]
    ends = tuple(flow.ends)
    found = {n: torch.empty_like(step) for n in [*flow.wanted, *(f"s_{f}" for f in task.fields)]}
    if "x" in found:
        found["x"] = torch.empty_like(step, dtype=call.dtype)
        found["x"] = found["x"] if task.constant else stacked(step, call.steps, call.dtype)
    vector = _vector(call)
    kernel = _compiled_backward(task, vector, target(), flow.flows, ends, flow.wanted)
    arrays = [
        *_given(call),
        *(saved[f] for f in task.keep),
        *timed,
        *(ordered(flow.ends[f], step) for f in ends),
    ]
    _launch(kernel, call, [*arrays, *found.values()], [g.stride(0) for g in timed])
    return found


def recomputed(call: Call, flow: Flow) -> dict[str, Tensor]:
    """See `numba_cpu.recomputed`; here the whole path is in memory during the backward pass."""
    paths = {f: stacked(call.step, call.steps) for f in call.task.paths}
    _forward(call, [], [*paths.values(), *(torch.empty_like(call.step) for _ in call.task.lasts)])
    return backward(call, paths, flow)


def _forward(call: Call, spikes: list[Tensor], states: list[Tensor]) -> None:
    kernel = _compiled_forward(call.task, _vector(call), target(), bool(spikes))
    _launch(kernel, call, [*_given(call), *spikes, *states], [])


@cache
def target() -> "Target":
    """Return what kernels are printed for in this process."""
    from .triton_source import Target

    return Target(False, f"{__package__}.interpreted") if interpreting() else Target()


@cache
def _compiled_forward(task: Task, vector: tuple[bool, ...], target: "Target", spikes: bool) -> Any:
    from .triton_source import forward_source

    return compiled_module(forward_source(task, vector, target, spikes), "triton").forward


@cache
def _compiled_backward(
    task: Task,
    vector: tuple[bool, ...],
    target: "Target",
    flows: tuple[bool, ...],
    ends: tuple[str, ...],
    wanted: tuple[str, ...],
) -> Any:
    from .triton_source import backward_source

    return compiled_module(
        backward_source(task, vector, target, flows, ends, wanted), "triton"
    ).backward


def _launch(kernel: Any, call: Call, arrays: list[Tensor], lengths: list[int]) -> None:
    """Run a kernel on its arrays: input, then parameters; ``lengths`` are gradient strides."""
    step = call.step
    size = call.step.numel()
    if not call.task.constant:
        lengths = [arrays[0].stride(0), *lengths]
    params = [p.to(step.device) for p in call.params]  # a scalar may still be on the CPU
    params = [ordered(p.expand(step.shape), step) if p.numel() > 1 else p for p in params]
    block = block_size(size, arrays[0].element_size())
    with torch.cuda.device_of(step):  # Triton launches on the current device
        grid = (-(-size // block),)
        kernel[grid](*arrays, *params, call.steps, size, *lengths, BLOCK=block, **launch_options())


def _vector(call: Call) -> tuple[bool, ...]:
    return tuple(p.numel() > 1 for p in call.params)


def _given(call: Call) -> list[Tensor]:
    """Return the input and the initial states; an input that is not read is replaced by a state."""
    if call.x is None:
        return [call.step if call.task.constant else call.step.unsqueeze(0), *call.state]
    return [
        ordered(call.x, call.step) if call.task.constant else spaced(call.x, call.step),
        *call.state,
    ]


def block_size(size: int, itemsize: int) -> int:
    """Return the neurons of a program instance: wide loads, unless too few instances remain."""
    block = THREADS * BYTES // itemsize
    while block > THREADS and size < block * PROGRAMS:
        block //= 2
    return block


@cache
def launch_options() -> dict[str, Any]:
    """Return options: no contraction, and no flushing of subnormals where Triton can."""
    options: dict[str, Any] = {"num_warps": THREADS // 32, "enable_fp_fusion": False}
    if torch.version.hip is None:
        compiler = importlib.import_module("triton.backends.nvidia.compiler")
        if "enable_reflect_ftz" in compiler.CUDAOptions.__dataclass_fields__:
            options["enable_reflect_ftz"] = False
    return options
