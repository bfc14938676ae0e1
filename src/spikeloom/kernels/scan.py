"""The one operator: ``spikeloom::scan`` runs a transition over time, opaque to ``torch.compile``.

Forward it returns the spikes, each state over time or at the end, and what the backward pass starts
from: as little as its residual allows (see `task`). Backends are printers of the same program;
which of them runs is the operator's ``printer`` argument. They compute in the type of the states;
input in 16 bits is widened in front of the operator for those that read one type only.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..core import checks
from ..core.transition import TRANSITIONS, Transition
from .layout import ordered, stacked
from .second import differentiable_gradients
from .task import Call, Flow, Task, labels, needed, reads_of, task_of

__all__ = ["PRINTERS", "gradient_of", "ones_of", "scan", "scanned"]

PRINTERS = {
    "torch": "torch_run",
    "numba": "numba_cpu",
    "triton": "triton_cuda",
}  # modules, loaded on first use

_LIBRARY = torch.library.Library("spikeloom", "FRAGMENT")
_LIBRARY.define(
    "scan(str printer, str key, str residual, bool path, Tensor x, SymInt num_steps, Tensor[] "
    "state, Tensor[] params, "
    "bool[] wanted) -> Tensor[]"
)
_LIBRARY.define(
    "scan_backward(str printer, str key, str residual, bool path, Tensor? x, bool constant, "
    "SymInt steps, "
    "Tensor[] state, Tensor[] params, Tensor[] saved, Tensor?[] grads, bool[] wanted, ScalarType "
    "dtype) -> Tensor[]"
)
scan = torch.ops.spikeloom.scan.default
_scan_backward = torch.ops.spikeloom.scan_backward.default
_CPU_CALLS = "CompositeExplicitAutograd"


@cache
def _printer(name: str) -> Any:
    return import_module(f".{PRINTERS[name]}", __package__)


def ones_of(transition: Transition, params: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the names of parameters that are exactly 1; not called where reads stall a queue."""
    pairs = zip(transition.names, params, strict=True)
    return tuple(
        n for n, p in pairs if p.numel() == 1 and p.device.type == "cpu" and p.item() == 1.0
    )


def _forward(
    printer: str,
    key: str,
    residual: str,
    path: bool,
    x: Tensor,
    num_steps: int,
    state: Sequence[Tensor],
    params: Sequence[Tensor],
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Spikes [T, B, ...]; states [T, B, ...], without ``path`` [B, ...]; then the saved tensors.

    Args:
        printer: which backend runs, a key of `PRINTERS`.
        key: of the transition, see `Transition.key`.
        residual: what to keep for the backward pass, ``"state"``, ``"half"``, ``"input"``, or
            ``"both"`` input and states: the latter are read, the former serves second derivatives.
        path: return every state over time, not only the last.
        x: [T, B, ...], or [B, ...] if ``num_steps`` > 0: the same input at every step.
        num_steps: T for a constant input, else 0.
        state: initial states, [B, ...].
        params: in the order of the transition's names.
        wanted: which of x, states and parameters will need a gradient; nothing is saved where
            none does.
    """
    transition = TRANSITIONS[key]
    step = _like(x, num_steps > 0, state, ())
    dtype = state[0].dtype
    steps = num_steps or len(x)
    kind = "state" if residual == "both" else residual
    task = task_of(
        key, dtype, ones_of(transition, params), num_steps > 0, path, kind, tuple(wanted)
    )
    call = Call(task, x, steps, [ordered(s, step) for s in state], params, step, x.dtype)
    spk, paths, lasts, halves = _outputs(call)
    _printer(printer).forward(call, spk, paths, lasts, halves)
    states = paths if path else lasts | {f: paths[f][-1].clone() for f in paths}
    saved = {} if path else paths
    if task.residual == "half":
        saved = halves
    return [spk, *(states[f] for f in task.fields), *saved.values()]


def _outputs(call: Call) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    task = call.task
    step = call.step
    state = dict(zip(call.task.fields, call.state, strict=True))
    paths = {f: stacked(step, call.steps) for f in task.paths}
    lasts = {f: state[f].clone() for f in task.lasts}
    halves = {f: stacked(step, call.steps + 1, torch.bfloat16) for f in task.halves}
    params = dict(zip(task.transition.names, call.params, strict=True))
    for f, path in halves.items():
        path[0] = state[f] - params[task.offsets[f]] if f in task.offsets else state[f]
    return stacked(step, call.steps, call.dtype), paths, lasts, halves


def _forward_fake(
    printer: str,
    key: str,
    residual: str,
    path: bool,
    x: Tensor,
    num_steps: Any,
    state: Any,
    params: Any,
    wanted: Any,
) -> list[Tensor]:
    transition = TRANSITIONS[key]
    step = _like(x, num_steps > 0, state, ())
    steps = num_steps or x.shape[0]
    keep = (
        reads_of(transition, step.dtype, needed(transition, wanted)).fields if any(wanted) else ()
    )
    saved = []
    if residual == "half":
        saved = [stacked(step, steps + 1, torch.bfloat16) for _ in keep]
    elif residual in ("state", "both") and not path:
        saved = [stacked(step, steps) for _ in keep]
    states = (stacked(step, steps) if path else torch.empty_like(step) for _ in state)
    return [stacked(step, steps, x.dtype), *states, *saved]


def _backward(
    printer: str,
    key: str,
    residual: str,
    path: bool,
    x: Tensor | None,
    constant: bool,
    steps: int,
    state: Sequence[Tensor],
    params: Sequence[Tensor],
    saved: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Sequence[bool],
    dtype: torch.dtype,
) -> list[Tensor]:
    """Return gradients of ``x``, states and parameters; of shape (0,) where not ``wanted``.

    Args:
        printer: as for the forward operator.
        key: as for the forward operator.
        residual: as for the forward operator.
        path: as for the forward operator.
        x: as for the forward operator; None where the gradients do not depend on it.
        constant: whether the input was the same at every step.
        steps: T.
        state: as for the forward operator.
        params: as for the forward operator.
        saved: what the forward operator saved.
        grads: gradients of its outputs, without those of ``saved``; None where there is none.
        wanted: as for the forward operator.
        dtype: dtype of the input.
    """
    transition = TRANSITIONS[key]
    step = _like(x, constant, state, saved)
    names = needed(transition, wanted)
    requested = tuple(n for n in names if n[0] != "s")
    kind = "half" if residual == "half" else "state"
    task = task_of(
        key, step.dtype, ones_of(transition, params), constant, False, kind, tuple(wanted)
    )
    call = Call(task, x, steps, [ordered(s, step) for s in state], params, step, dtype)
    timed, ends = (
        (list(grads), {}) if path else ([grads[0], *[None] * len(state)], _ends(task, grads))
    )
    flow = Flow(timed, ends, requested)
    if residual == "input":
        found = _printer(printer).recomputed(call, flow)
    else:
        found = _printer(printer).backward(call, dict(zip(task.keep, saved, strict=True)), flow)
    inputs = dict(zip(labels(transition), [step, *state, *params], strict=True))
    return [
        gradient_of(found, n, v) if n in names else step.new_empty(0) for n, v in inputs.items()
    ]


def _ends(task: Task, grads: Sequence[Tensor | None]) -> dict[str, Tensor]:
    return {f: g for f, g in zip(task.fields, grads[1:], strict=True) if g is not None}


def _like(x: Tensor | None, constant: bool, state: Any, saved: Any) -> Tensor:
    """Return a tensor with the shape, memory order, dtype and device of a step."""
    if x is not None:
        step = x if constant else x[0]
        return (
            step if step.dtype == state[0].dtype else torch.empty_like(step, dtype=state[0].dtype)
        )
    return torch.empty_like(saved[0][0], dtype=state[0].dtype) if saved else state[0]


def gradient_of(found: dict[str, Tensor], label: str, value: Tensor) -> Tensor:
    """Return a gradient in the shape of its argument; a shared one gets the sum over neurons."""
    return found[label].sum_to_size(value.shape).clone() if label[0] == "p" else found[label]


def _backward_fake(
    printer: str,
    key: str,
    residual: str,
    path: bool,
    x: Any,
    constant: Any,
    steps: Any,
    state: Any,
    params: Any,
    saved: Any,
    grads: Any,
    wanted: Any,
    dtype: Any,
) -> list[Tensor]:
    step = _like(x, constant, state, saved)
    dx = torch.empty_like(step, dtype=dtype) if constant else stacked(step, steps, dtype)
    shapes = [dx, *(torch.empty_like(step) for _ in state), *map(torch.empty_like, params)]
    return [v if w else step.new_empty(0) for v, w in zip(shapes, wanted, strict=True)]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.printer, ctx.key, ctx.residual, ctx.path, x, num_steps, state, params, ctx.wanted = inputs
    ctx.constant = num_steps > 0
    ctx.steps = output[0].shape[0]
    ctx.sizes = (len(state), len(params))
    transition = TRANSITIONS[ctx.key]
    found = reads_of(transition, state[0].dtype, needed(transition, ctx.wanted))
    fields = transition.neuron.State._fields
    saved = list(output[1 + len(state) :])
    if ctx.residual in ("state", "both") and ctx.path:
        saved = [output[1 + fields.index(f)] for f in found.fields]
    ctx.dtype = x.dtype
    ctx.has_x = found.x or ctx.residual in ("input", "both")
    ctx.save_for_backward(*[x] * ctx.has_x, *state, *params, *saved)


def _pulled_back(ctx: Any, grads: Any, backward: Any) -> list[Tensor | None]:
    """Return gradients of x, states and parameters; None where one is not requested."""
    n, k = ctx.sizes
    tensors = list(ctx.saved_tensors)
    x = tensors.pop(0) if ctx.has_x else None
    state = tensors[:n]
    params = tensors[n : n + k]
    saved = tensors[n + k :]
    options = ctx.printer, ctx.key, ctx.residual, ctx.path
    flowing = list(grads[: 1 + n])
    found = backward(
        *options, x, ctx.constant, ctx.steps, state, params, saved, flowing, ctx.wanted, ctx.dtype
    )
    return [g if w else None for g, w in zip(found, ctx.wanted, strict=True)]


def _gradients(ctx: Any, grads: Any, backward: Any) -> list[Tensor | None]:
    return (
        differentiable_gradients(ctx, grads)
        if torch.is_grad_enabled()
        else _pulled_back(ctx, grads, backward)
    )


def _backward_call(ctx: Any, grads: Any) -> Any:
    found = _gradients(ctx, grads, _scan_backward)
    n = 1 + ctx.sizes[0]
    return None, None, None, None, found[0], None, found[1:n], found[n:], None


class _Direct(torch.autograd.Function):
    """The operator without dispatch; for a small layer dispatch takes as long as its loops."""

    @staticmethod
    def forward(
        ctx: Any, options: Any, num_steps: int, wanted: Any, n: int, x: Tensor, *tensors: Tensor
    ) -> Any:
        inputs: Any = *options, x, num_steps, tensors[:n], tensors[n:], wanted
        output = _forward(*inputs)
        _setup(ctx, inputs, output)
        return tuple(output[: 1 + n])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None, None, None, *_gradients(ctx, grads, _backward)


def scanned(
    printer: str,
    key: str,
    residual: str,
    path: bool,
    x: Tensor,
    num_steps: int,
    state: Any,
    params: Any,
) -> Sequence[Tensor]:
    """Return spikes and each state; uses the operator if a dispatch mode or a compiler is active.

    Args:
        printer: as for the operator.
        key: as for the operator.
        residual: as for the operator.
        path: as for the operator.
        x: as for the operator.
        num_steps: as for the operator.
        state: as for the operator.
        params: as for the operator.
    """
    tensors = [x, *state, *params]
    wanted = (
        [t.requires_grad for t in tensors] if torch.is_grad_enabled() else [False] * len(tensors)
    )
    options = printer, key, residual, path
    if checks.watched(*tensors):
        return scan(*options, x, num_steps, list(state), list(params), wanted)
    if any(wanted):
        return _Direct.apply(options, num_steps, wanted, len(state), *tensors)  # pyright: ignore[reportReturnType]
    return _forward(*options, x, num_steps, state, params, wanted)


def _second(ctx: Any, *grads: Any) -> Any:
    raise RuntimeError(
        "a compiled backward pass of the printed loops has no derivative (no autograd formula); "
        'leave torch.compile out, or write with snn.backend("eager")'
    )


_LIBRARY.impl("scan", _forward, _CPU_CALLS)
_LIBRARY.impl("scan_backward", _backward, _CPU_CALLS)
torch.library.register_fake("spikeloom::scan", _forward_fake, lib=_LIBRARY)
torch.library.register_fake("spikeloom::scan_backward", _backward_fake, lib=_LIBRARY)
torch.library.register_autograd(
    "spikeloom::scan", _backward_call, setup_context=_setup, lib=_LIBRARY
)
torch.library.register_autograd("spikeloom::scan_backward", _second, lib=_LIBRARY)
