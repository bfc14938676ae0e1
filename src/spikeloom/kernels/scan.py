"""The one operator: ``spikeloom::scan`` runs a transition over time, opaque to ``torch.compile``.

Forward it returns the spikes and the path of each state; the paths are also what its backward reads, so that nothing
else is saved. Backends are printers of the same program; which of them runs is the operator's ``printer`` argument.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..core import checks
from ..core.dispatch import Backend, register
from ..core.transition import TRANSITIONS, Transition
from . import numba_cpu
from .program import Program
from .torch_loop import compiled_backward, compiled_forward
from .trace import program

__all__ = ["scan"]


@torch.library.custom_op("spikeloom::scan", mutates_args=())
def scan(
    printer: str, key: str, x: Tensor, num_steps: int, state: Sequence[Tensor], params: Sequence[Tensor], path: bool
) -> list[Tensor]:
    """Spikes [T, B, ...] and each state [T, B, ...].

    Args:
        printer: which backend runs, ``"torch"`` or ``"numba"``.
        key: of the transition, see `Transition.key`.
        x: [T, B, ...], or [B, ...] if ``num_steps`` > 0: the same input at every step.
        num_steps: T for a constant input, else 0.
        state: initial states, [B, ...].
        params: in the order of the transition's names.
        path: return every state over time; else only the last, [1, B, ...] (then there is no gradient).
    """
    transition = TRANSITIONS[key]
    ones = _ones(transition, params)
    steps, spk, paths = _outputs(x, num_steps, len(state), path)
    if printer == "numba" and path:  # its loop writes every state; the last alone is the torch loop's affair
        numba_cpu.forward(transition, x, num_steps, state, params, ones, spk, paths)
        return [spk, *paths]
    views = [_alternating(p, len(steps), path) for p in paths]
    run = compiled_forward(transition, x.dtype, ones)
    run(steps, *state, *_scalars(params), spk.unbind(0), *views)
    return [spk, *(p if path else p[(len(steps) - 1) % 2 :][:1].clone() for p in paths)]


def _outputs(x: Tensor, num_steps: int, states: int, path: bool) -> tuple[Any, Tensor, list[Tensor]]:
    steps = [x] * num_steps if num_steps else x.unbind(0)
    step = x if num_steps else x[0]
    empty = [_stacked(step, len(steps)), *(_stacked(step, len(steps) if path else 2) for _ in range(states))]
    return steps, empty[0], empty[1:]


def _stacked(step: Tensor, n: int) -> Tensor:
    """An empty [n, *step.shape] whose steps have the memory format of ``step``."""
    like = torch.empty_like(step)
    return torch.empty_strided((n, *step.shape), (step.numel(), *like.stride()), dtype=step.dtype, device=step.device)


def _alternating(path: Tensor, n: int, whole: bool) -> Any:
    views = path.unbind(0)
    return views if whole else [views[t % 2] for t in range(n)]


def _ones(transition: Transition, params: Sequence[Tensor]) -> tuple[str, ...]:
    """Names of the parameters that are exactly 1; only asked where reading a value does not stall a queue."""
    pairs = zip(transition.names, params, strict=True)
    return tuple(n for n, p in pairs if p.numel() == 1 and p.device.type == "cpu" and p.item() == 1.0)


def _scalars(params: Sequence[Tensor]) -> list[Tensor]:
    return [p.detach().reshape(()) if p.numel() == 1 else p.detach() for p in params]


@scan.register_fake
def _(printer: str, key: str, x: Tensor, num_steps: int, state: Any, params: Any, path: bool) -> list[Tensor]:
    steps, step = (num_steps, x) if num_steps else (x.shape[0], x[0])
    return [_stacked(step, steps), *(_stacked(step, steps if path else 1) for _ in state)]


@torch.library.custom_op("spikeloom::scan_backward", mutates_args=())
def scan_backward(
    printer: str,
    key: str,
    x: Tensor,
    num_steps: int,
    state: Sequence[Tensor],
    params: Sequence[Tensor],
    outputs: Sequence[Tensor],
    grads: Sequence[Tensor],
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Gradients of ``x``, the states and the parameters; of shape (0,) where ``wanted`` is False.

    Args:
        printer: as for `scan`; so are ``key``, ``x``, ``num_steps``, ``state`` and ``params``.
        key: see there.
        outputs: what the forward returned.
        grads: of the outputs; of shape (0,) where none flows.
        wanted: which of x, states and parameters need a gradient.
    """
    transition = TRANSITIONS[key]
    labels = _labels(transition)
    asked = tuple(label for label, w in zip(labels, wanted, strict=True) if w)
    flows = tuple(g.numel() > 0 for g in grads)
    ones = _ones(transition, params)
    inputs = dict(zip(labels, [x, *state, *params], strict=True))
    if printer == "numba":
        found = numba_cpu.backward(transition, x, num_steps, state, params, ones, outputs, grads, asked)
        return [_gradient(found, n, v) if n in asked else x.new_empty(0) for n, v in inputs.items()]
    run = compiled_backward(transition, x.dtype, ones, flows, asked, num_steps > 0, x.device.type == "cpu")
    steps = [x] * num_steps if num_steps else x.unbind(0)
    dx = torch.empty_like(outputs[0]) if wanted[0] and not num_steps else x.new_empty(0)
    lists = [g.unbind(0) if f else None for g, f in zip(grads, flows, strict=True)]
    found = run(steps, *state, *_scalars(params), *(o.unbind(0) for o in outputs), *lists, dx.unbind(0))
    found.setdefault("x", dx)
    return [_gradient(found, n, v) if n in asked else x.new_empty(0) for n, v in inputs.items()]


def _gradient(found: dict[str, Tensor], label: str, value: Tensor) -> Tensor:
    """A parameter that all neurons share collects the sum of their gradients."""
    return found[label].sum_to_size(value.shape).clone() if label[0] == "p" else found[label]


def _labels(transition: Transition) -> list[str]:
    fields = transition.neuron.State._fields
    return ["x", *(f"s_{f}" for f in fields), *(f"p_{p}" for p in transition.names)]


@scan_backward.register_fake
def _(
    printer: str, key: str, x: Any, num_steps: int, state: Any, params: Any, outputs: Any, grads: Any, wanted: Any
) -> list[Tensor]:
    inputs = [x, *state, *params]
    return [torch.empty_like(v) if w else x.new_empty(0) for v, w in zip(inputs, wanted, strict=True)]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.printer, ctx.key, x, ctx.num_steps, state, params, _ = inputs
    ctx.sizes = len(state), len(params)
    ctx.wanted = [t.requires_grad for t in (x, *state, *params)]
    ctx.save_for_backward(x, *state, *params, *output)


def _backward(ctx: Any, grads: Any) -> Any:
    n, k = ctx.sizes
    x, *rest = ctx.saved_tensors
    state, params, outputs = rest[:n], rest[n : n + k], rest[n + k :]
    grads = [x.new_empty(0) if g is None else g for g in grads]
    found = scan_backward(ctx.printer, ctx.key, x, ctx.num_steps, state, params, outputs, grads, ctx.wanted)
    found = [g if w else None for g, w in zip(found, ctx.wanted, strict=True)]
    return None, None, found[0], None, found[1 : 1 + n], found[1 + n :], None


scan.register_autograd(_backward, setup_context=_setup)


def _refusal(transition: Transition, x: Tensor) -> str | None:
    """Why no printed loop serves a call."""
    if checks.transformed():
        return "a torch.func transform is running, which sees the ordinary loop only"
    built = program(transition, x.dtype)
    return built if isinstance(built, str) else None


def _numba_refusal(transition: Transition, x: Tensor) -> str | None:
    reason = _refusal(transition, x)
    if reason:
        return reason
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 or float64 on the CPU, got {x.dtype} on {x.device}"
    if not x.is_contiguous():
        return "its input is not contiguous; write x.contiguous()"
    built = program(transition, x.dtype)
    missing = numba_cpu.unsupported(built) if isinstance(built, Program) else ""
    return f"it has no form for {missing}" if missing else None


def _numba_available() -> str | None:
    return None if find_spec("numba") else 'numba is not installed; write: pip install "spikeloom[cpu]"'


@cache
def _warm_allocator() -> None:
    """Free one large block, once.

    glibc learns from it to keep blocks of up to that size instead of handing them back to the system at every call;
    measured, the page faults of fresh sequences cost more than the loop itself. Any program that has freed a data set
    has done the same; on other allocators it is a no-op.
    """
    torch.empty(32 * 2**20 - 2**16, dtype=torch.uint8)


def _runner(printer: str) -> Any:
    def run(key: str, x: Tensor, state: Any, params: Any, num_steps: int | None) -> tuple[Tensor, Any]:
        if not torch.compiler.is_compiling():
            _warm_allocator()
        spk, *paths = scan(printer, key, x, num_steps or 0, list(state), list(params), True)
        return spk, type(state)(*paths)

    return run


register(Backend("torch", lambda: None, _refusal, _runner("torch")))
# compiling a kernel takes a second or two, which only large layers earn back
register(Backend("numba", _numba_available, _numba_refusal, _runner("numba"), pays=lambda x: x.numel() >= 2**17))
