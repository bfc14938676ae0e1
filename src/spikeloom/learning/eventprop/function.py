"""Spike times of a layer of current-based LIF neurons, and their exact gradients, as a function that autograd knows."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...core import checks
from . import arrays
from .compiled import loops
from .inputs import events, neurons

__all__ = ["lif_maxima", "lif_spikes"]

ROOM = 4  # spikes of a neuron for which there is room at first


class Plan(NamedTuple):
    """What is not differentiated."""

    until: float
    limit: int
    slope_floor: float
    engine: str
    value: Any


class _Spikes(torch.autograd.Function):
    """Spike times [B, J, K] of times [B, I, K'], weights [J, I], delays, recurrence and constants [J]."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, times: Any, weight: Any, delay: Any, inner: Any, wait: Any, *constants: Any) -> Any:
        ev, slot = events(times, plan.value)
        one = neurons(plan, weight, delay, *constants)
        rec = None if inner is None else arrays.Recurrence(_array(inner), float(wait))
        code, own = loops(plan.engine), arrays.arrivals(len(times), len(ev.time), 0)
        out = _run(code, ev, one, rec, own)
        ctx.save_for_backward(times, weight, delay, inner, *constants)
        ctx.parts = plan, ev, slot, one, rec, out
        fired = max(1, int(np.isfinite(out.time).any((0, 1)).sum()))
        return torch.from_numpy(out.time[..., :fired]).to(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (plan, ev, slot, one, rec, out), (times, weight, delay, inner, *constants) = ctx.parts, ctx.saved_tensors
        code, needs = loops(plan.engine), ctx.needs_input_grad
        g = np.zeros_like(out.time)
        g[..., : grad_output.shape[-1]] = _array(grad_output)
        asked = len(ev.time) if needs[1] or needs[3] else 0
        grad = arrays.gradients(one, asked, rec is not None)
        traced = any(needs[6:8])
        if rec is None:
            longest = int(np.diff(ev.start).max(initial=0)) + out.time.shape[2]
            own = arrays.arrivals(len(times), len(ev.time), longest if traced else 0)
            code.backward(ev, one, own, out, grad, g)
        else:
            own = arrays.arrivals(len(times), len(ev.time), 0)
            log = _course(ev, out, traced)
            code.backward_recurrent(ev, one, rec, own, out, log, grad, g)
        return (None, *_gradients(grad, slot, needs[1:], times, weight, delay, inner, *constants))


class _Maxima(torch.autograd.Function):
    """Highest membrane [B, J] of neurons that do not fire."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, times: Any, weight: Any, delay: Any, *constants: Any) -> Any:
        ev, slot = events(times, plan.value)
        one = neurons(plan, weight, delay, *constants)
        out = arrays.spikes(len(times), len(weight), 1)
        loops(plan.engine).highest_of_all(ev, one, arrays.arrivals(len(times), len(ev.time), 0), out)
        ctx.save_for_backward(times, weight, delay, *constants)
        ctx.parts = plan, ev, slot, one, out
        return torch.from_numpy(out.current[..., 0]).to(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (plan, ev, slot, one, out), (times, weight, delay, *constants) = ctx.parts, ctx.saved_tensors
        needs = ctx.needs_input_grad
        grad = arrays.gradients(one, len(ev.time) if needs[1] or needs[3] else 0)
        longest = int(np.diff(ev.start).max(initial=0)) + 1 if any(needs[4:6]) else 0
        own = arrays.arrivals(len(times), len(ev.time), longest)
        loops(plan.engine).highest_back(ev, one, own, out, grad, _array(grad_output)[..., None].copy())
        wanted = (*needs[1:4], False, False, *needs[4:])
        found = _gradients(grad, slot, wanted, times, weight, delay, None, *constants)
        return (None, *found[:3], *found[5:])


def _run(code: Any, ev: arrays.Events, one: arrays.Neurons, rec: Any, own: arrays.Arrivals) -> arrays.Spikes:
    """Spikes of a layer, with as much room as they need."""
    samples, size, room = len(ev.start) - 1, len(one.weight), min(ROOM, one.limit)
    while True:
        out = arrays.spikes(samples, size, room)
        if rec is None:
            most = code.forward(ev, one, own, arrays.wide(one), out)
        else:
            full = code.forward_recurrent(ev, one, rec, own, out, _course(ev, out, False)) < 0
            most = 2 * room if full else 0
        if most <= room:
            return out
        room = min(most, one.limit)


def _course(ev: arrays.Events, out: arrays.Spikes, traced: bool) -> arrays.Course:
    return arrays.course(out.time.shape[1], int(np.diff(ev.start).max(initial=0)), out.time.shape[2], traced)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().to("cpu", torch.float64).contiguous().numpy()


def _gradients(grad: arrays.Gradients, slot: Any, needs: Any, times: Any, weight: Any, delay: Any, inner: Any, *rest: Any) -> list:
    """Gradients as tensors like what they belong to; None where nobody asks."""
    moved = None
    if needs[0]:
        moved = np.zeros(times.numel())
        moved[slot] = grad.time
        moved = moved.reshape(times.shape)
    found = (moved, grad.weight, grad.delay, grad.recurrent, grad.wait[0], grad.tau_m, grad.tau_s, grad.theta)
    like = (times, weight, delay, inner, weight, *rest)
    return [
        torch.as_tensor(value).to(tensor) if need else None
        for need, value, tensor in zip(needs, found, like, strict=True)
    ]


def lif_spikes(
    times: Tensor,
    weight: Tensor,
    *,
    tau_m: float | Tensor,
    tau_s: float | Tensor,
    until: float,
    threshold: float | Tensor = 1.0,
    value: Tensor | None = None,
    delay: Tensor | None = None,
    recurrent: Tensor | None = None,
    recurrent_delay: float | Tensor = 0.0,
    max_spikes: int | None = None,
    slope_floor: float = 1e-2,
    engine: str = "auto",
) -> Tensor:
    r"""X."""
    plan, times = _checked(times, weight, until, value, max_spikes, slope_floor, engine)
    constants = [torch.as_tensor(c, dtype=weight.dtype).expand(len(weight)) for c in (tau_m, tau_s, threshold)]
    wait = torch.as_tensor(recurrent_delay, dtype=weight.dtype)
    return _Spikes.apply(plan, times, weight, delay, recurrent, wait, *constants)


def lif_maxima(times, weight, *, tau_m, tau_s, until, value=None, delay=None, engine="auto"):
    plan, times = _checked(times, weight, until, value, None, 0.0, engine)
    constants = [torch.as_tensor(c, dtype=weight.dtype).expand(len(weight)) for c in (tau_m, tau_s, 1.0)]
    return _Maxima.apply(plan, times, weight, delay, *constants)


def _checked(times, weight, until, value, max_spikes, slope_floor, engine):
    times = times if times.dim() == 3 else times.unsqueeze(-1)
    return Plan(float(until), 2**62 if max_spikes is None else max_spikes, slope_floor, engine, value), times
