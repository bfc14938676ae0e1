"""Spike times of current-based LIF neurons and their exact gradients, as an autograd function."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import arrays
from .compiled import loops
from .inputs import Plan, checked, double, events, neurons

__all__ = ["lif_maxima", "lif_spikes"]

ROOM = 4  # spikes of a neuron for which there is room at first
MOST = 4096  # spikes of a neuron of a recurrent layer


class _Spikes(torch.autograd.Function):
    """Spike times [B, J, K] of times [B, I, K'], weights [J, I], delays and constants [J]."""

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, times: Any, weight: Any, delay: Any, inner: Any, *more: Any
    ) -> Any:
        wait, *constants = more
        ev, slot = events(times, plan.value)
        one = neurons(plan, weight, delay, *constants)
        rec = None if inner is None else arrays.Recurrence(double(inner), float(wait))
        code = loops(plan.engine)
        own = arrays.arrivals(len(times), len(ev.time), 0)
        out = _run(code, ev, one, rec, own)
        ctx.save_for_backward(times, weight, delay, inner, *constants)
        ctx.parts = plan, ev, slot, one, rec, out
        fired = max(1, int(np.isfinite(out.time).any((0, 1)).sum()))
        return torch.from_numpy(out.time[..., :fired]).to(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (plan, ev, slot, one, rec, out), (times, weight, delay, inner, *constants) = (
            ctx.parts,
            ctx.saved_tensors,
        )
        code = loops(plan.engine)
        needs = ctx.needs_input_grad
        g = np.zeros_like(out.time)
        g[..., : grad_output.shape[-1]] = double(grad_output)
        timed = len(ev.time) if needs[1] or needs[3] else 0
        grad = arrays.gradients(one, timed, rec is not None)
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
        loops(plan.engine).highest_of_all(
            ev, one, arrays.arrivals(len(times), len(ev.time), 0), out
        )
        ctx.save_for_backward(times, weight, delay, *constants)
        ctx.parts = plan, ev, slot, one, out
        return torch.from_numpy(out.current[..., 0]).to(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (plan, ev, slot, one, out), (times, weight, delay, *constants) = (
            ctx.parts,
            ctx.saved_tensors,
        )
        needs = ctx.needs_input_grad
        grad = arrays.gradients(one, len(ev.time) if needs[1] or needs[3] else 0)
        longest = int(np.diff(ev.start).max(initial=0)) + 1 if any(needs[4:6]) else 0
        own = arrays.arrivals(len(times), len(ev.time), longest)
        loops(plan.engine).highest_back(
            ev, one, own, out, grad, double(grad_output)[..., None].copy()
        )
        wanted = (*needs[1:4], False, False, *needs[4:])
        found = _gradients(grad, slot, wanted, times, weight, delay, None, *constants)
        return (None, *found[:3], *found[5:])


def _run(
    code: Any, ev: arrays.Events, one: arrays.Neurons, rec: Any, own: arrays.Arrivals
) -> arrays.Spikes:
    """Spikes of a layer, with as much room as they need."""
    samples = len(ev.start) - 1
    size = len(one.weight)
    room = min(ROOM, one.limit)
    while True:
        out = arrays.spikes(samples, size, room)
        if rec is None:
            most = code.forward(ev, one, own, arrays.wide(one), out)
        else:
            full = code.forward_recurrent(ev, one, rec, own, out, _course(ev, out, False)) < 0
            most = 2 * room if full else 0
            if most > MOST:
                raise RuntimeError(
                    "a recurrent layer must not excite itself without bound, got more than "
                    f"{room} spikes of a neuron; "
                    "lower the recurrent weights, or give them a longer delay"
                )
        if most <= room:
            return out
        room = min(most, one.limit)


def _course(ev: arrays.Events, out: arrays.Spikes, traced: bool) -> arrays.Course:
    return arrays.course(
        out.time.shape[1], int(np.diff(ev.start).max(initial=0)), out.time.shape[2], traced
    )


def _gradients(grad: arrays.Gradients, slot: Any, needs: Any, *like: Any) -> list:
    """Gradients like their arguments (times, weight, delay, ...); None where not needed."""
    times, weight, delay, inner, *rest = like
    moved = None
    if needs[0]:
        moved = np.zeros(times.numel())
        moved[slot] = grad.time
        moved = moved.reshape(times.shape)
    found = (
        moved,
        grad.weight,
        grad.delay,
        grad.recurrent,
        grad.wait[0],
        grad.tau_m,
        grad.tau_s,
        grad.theta,
    )
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
    r"""Spike times of current-based leaky integrate-and-fire neurons, with exact gradients.

    .. math::
        \tau_m \dot V = -V + I \qquad \tau_s \dot I = -I \qquad
        V = \theta: \; V \to 0 \qquad \text{input spike of } i: \; I_j \to I_j + w_{ji}

    There are no time steps: the course between events has a closed form, and a crossing of the
    threshold is the root of a sum of two exponentials. Gradients are those of the times that exist.
    A change of parameters may make a spike appear or vanish; there the loss has a kink or a jump
    that no gradient sees. In particular a neuron that is silent learns nothing: see `push_silent`.

    The adjoints V' and I', the derivatives of the loss with respect to V and I at a moment, go back
    in time. At a spike ``V' <- (I V' - tau_m dL/dt) / (I - theta)``, nothing else jumps. ``dL/dw``
    is the sum of I' over the input spikes, and the time of an input spike has the gradient ``w (I'
    / tau_s - V' / tau_m)``.

    Args:
        times: input spikes, [B, I] or [B, I, K] for several of each input, in any order; infinity
            means none.
        weight: [J, I], in units of the threshold; a weight of 1 lifts the membrane by at most
            ``(tau_s / tau_m) ** (tau_m / (tau_m - tau_s))``.
        tau_m: time constant of the membrane, a number or [J]; any unit of time.
        tau_s: time constant of the synapses, likewise.
        until: end of the simulation; it begins with the first spike.
        threshold: theta, positive, a number or [J].
        value: factor of each input spike, like ``times``; it has no gradient. Default: 1.
        delay: of each synapse, [J, I], not negative.
        recurrent: weights within the layer, [J, J].
        recurrent_delay: of all of these, not negative.
        max_spikes: after so many spikes a neuron stays silent. Default: no such limit.
        slope_floor: the slope at a spike, ``(I - theta) / tau_m``, is divided by and hence taken as
            at least this many ``theta / tau_m`` in gradients, which near-tangent crossings would
            otherwise make arbitrarily large. The gradients are exact where it is not reached; 0
            switches it off.
        engine: "numba" (extra ``cpu``), "python" (the same loops uncompiled, about a hundred times
            slower), or "auto".

    Returns:
        Spike times [B, J, K] in order, K the largest number of spikes of a neuron, at least 1;
        infinity means none. In the dtype of ``weight``; computed in float64.

    Raises:
        TypeError: times or weights are not floating point.
        ValueError: shapes do not fit, a constant is out of range, ``until`` is not finite.
        RuntimeError: recurrent weights let the rate grow without bound.

    Source: Wunderlich & Pehle (2021), Sci. Rep. 11, 12829, whose adjoints these are up to a scale;
    derived anew, and held against finite differences.

    >>> times = torch.tensor([[0.0, 1.0]])
    >>> weight = torch.tensor([[3.0, 3.0], [9.0, 0.0]], requires_grad=True)
    >>> lif_spikes(times, weight, tau_m=2.0, tau_s=1.0, until=10.0)
    tensor([[[1.1990,    inf,    inf],
             [0.2724, 0.6628, 1.4180]]], grad_fn=<_SpikesBackward>)
    """
    plan = Plan(until, max_spikes, slope_floor, engine, value)
    plan, times, constants = checked(plan, times, weight, delay, recurrent, tau_m, tau_s, threshold)
    wait = torch.as_tensor(recurrent_delay, dtype=weight.dtype)
    if wait.dim() or not wait >= 0:
        raise ValueError(
            f"recurrent_delay must be one number >= 0, got {recurrent_delay}; write "
            "recurrent_delay=0.0"
        )
    return _Spikes.apply(plan, times, weight, delay, recurrent, wait, *constants)


def lif_maxima(
    times: Tensor,
    weight: Tensor,
    *,
    tau_m: float | Tensor,
    tau_s: float | Tensor,
    until: float,
    value: Tensor | None = None,
    delay: Tensor | None = None,
    engine: str = "auto",
) -> Tensor:
    """Maximum of the membrane of neurons as in `lif_spikes` that never fire, with gradients.

    Args:
        times: input spikes, [B, I] or [B, I, K]; infinity means none.
        weight: [J, I].
        tau_m: time constant of the membrane, a number or [J].
        tau_s: time constant of the synapses, likewise.
        until: end of the simulation.
        value: factor of each input spike, like ``times``.
        delay: of each synapse, [J, I].
        engine: as for `lif_spikes`.

    Returns:
        [B, J]; 0, the beginning, for membranes that only sink.

    Raises:
        TypeError, ValueError: as `lif_spikes`.

    >>> lif_maxima(
    ...     torch.tensor([[0.0]]), torch.tensor([[4.0], [-1.0]]), tau_m=2.0, tau_s=1.0, until=10.0
    ... )
    tensor([[1., 0.]])
    """
    plan = Plan(until, None, 0.0, engine, value)
    plan, times, constants = checked(plan, times, weight, delay, None, tau_m, tau_s, 1.0)
    return _Maxima.apply(plan, times, weight, delay, *constants)
