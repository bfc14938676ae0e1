"""First spike times of spike response neurons with delays, and their implicit derivative."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...core import checks
from ...core.numbers import real
from .response import AlphaResponse, Response

__all__ = ["srm_first_spikes"]


class Plan(NamedTuple):
    """What has no gradient."""

    response: Response
    threshold: float
    until: float
    dt: float
    slope_floor: float


class _FirstSpikes(torch.autograd.Function):
    """Times [B, J] of times [B, I], weights [J, I, K] and delays [K]."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, times: Tensor, weight: Tensor, delays: Tensor) -> Tensor:
        samples, neurons, point, start = bracket(plan, times, weight, delays)
        most = max(1, int(torch.isfinite(times).sum(1).max()))
        time, order = times.sort(1)
        arrival = arrivals(time[:, :most], delays).double()[
            samples
        ]  # of the inputs that fire: few, in a sparse code
        near = weight[neurons.unsqueeze(1), order[samples, :most]].flatten(1).double()
        found = torch.full(
            (len(times), len(weight)), math.inf, dtype=torch.float64, device=weight.device
        )
        found[samples, neurons] = refined(plan, arrival, near, point.double() * plan.dt, start)
        ctx.save_for_backward(times, weight, delays, found)
        ctx.plan = plan
        return found.to(weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        plan, (times, weight, delays, found) = ctx.plan, ctx.saved_tensors
        s = since(found, arrivals(times, delays).double())
        flat = weight.flatten(1).double()
        unit = plan.response.tau
        value, slopes = plan.response.both(s)  # [B, J, I * K]
        slopes = slopes * flat
        slope = slopes.sum(-1).clamp(min=plan.slope_floor * plan.threshold / unit)
        push = torch.where(torch.isfinite(found), grad_output.double() / slope, 0.0)
        by_time = by_weight = by_delay = None
        if ctx.needs_input_grad[2]:
            by_weight = -torch.einsum("bj,bjm->jm", push, value).reshape(weight.shape).to(weight)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
            moved = torch.einsum("bj,bjm->bm", push, slopes).reshape(*times.shape, len(delays))
            by_time = moved.sum(2).to(times)
            by_delay = moved.sum((0, 1)).to(delays)
        return None, by_time, by_weight, by_delay


def arrivals(times: Tensor, delays: Tensor) -> Tensor:
    """When each input arrives through each terminal, [B, I * K]."""
    return (times.unsqueeze(-1) + delays).flatten(1)


def since(found: Tensor, arrival: Tensor) -> Tensor:
    """Time from each arrival to each spike, [B, J, I * K]; minus infinity if one is missing."""
    spike = torch.where(torch.isfinite(found), found, -math.inf).unsqueeze(-1)
    return torch.where(
        torch.isfinite(arrival).unsqueeze(1), spike - arrival.unsqueeze(1), -math.inf
    )


def bracket(
    plan: Plan, times: Tensor, weight: Tensor, delays: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first crossings: samples, neurons, grid points after them, share of the interval.

    The share, in [0, 1], is where a straight line between the two points crosses.
    """
    count = math.ceil(plan.until / plan.dt) + 1
    grid = torch.arange(count, dtype=weight.dtype, device=weight.device) * plan.dt
    steps = (delays / plan.dt).round()
    if torch.equal(steps * plan.dt, delays):  # one course for all terminals of an input, shifted
        late = int(steps.max())
        course = plan.response.value(torch.cat([grid[:1].expand(late), grid]) - times.unsqueeze(-1))
        course[..., :late] = 0.0
        place = (
            torch.arange(count, device=weight.device) + late - steps.long().unsqueeze(-1)
        )  # [K, grid]
        value = course[..., place].flatten(1, 2)
    else:
        value = plan.response.value(
            grid - arrivals(times, delays).unsqueeze(-1)
        )  # [B, I * K, grid]
    gap = torch.matmul(weight.flatten(1), value) - plan.threshold  # [B, J, grid]
    above = gap >= 0
    samples, neurons = above.any(-1).nonzero(as_tuple=True)
    point = above[samples, neurons].to(torch.uint8).argmax(-1).clamp(min=1)
    before = gap[samples, neurons, point - 1]
    after = gap[samples, neurons, point]
    return samples, neurons, point, (before / (before - after)).clamp(0.0, 1.0)


def refined(plan: Plan, arrival: Tensor, weight: Tensor, right: Tensor, share: Tensor) -> Tensor:
    """The crossing in the grid interval that ends at ``right``, for each spike.

    Newton's method, restricted to the interval; spikes leave the computation when they have
    converged.
    """
    left = right - plan.dt
    found = right.clone()
    open_ = torch.arange(len(right), device=right.device)
    time = left + share.double() * plan.dt
    for _ in range(60):
        value, slope = plan.response.both(time.unsqueeze(-1) - arrival)
        gap = torch.linalg.vecdot(value, weight) - plan.threshold
        left = torch.where(gap < 0, time, left)
        right = torch.where(gap < 0, right, time)
        wanted = time - gap / torch.linalg.vecdot(slope, weight)
        inside = (wanted >= left) & (
            wanted <= right
        )  # not so for a slope of 0, where it is no number
        wanted = torch.where(inside, wanted, 0.5 * (left + right))
        found[open_] = wanted
        moving = (
            wanted - time
        ).abs() > 1e-8 * plan.response.tau  # Newton's error is the square of the step
        moving |= ~inside
        if not bool(moving.any()):
            break
        if not bool(moving.all()):
            arrival = arrival[moving]
            weight = weight[moving]
            open_ = open_[moving]
            wanted = wanted[moving]
            left = left[moving]
            right = right[moving]
        time = wanted
    return found


def srm_first_spikes(
    times: Tensor,
    weight: Tensor,
    delays: Tensor,
    *,
    until: float,
    response: Response | None = None,
    threshold: float = 1.0,
    dt: float = 1.0,
    slope_floor: float = 0.5,
) -> Tensor:
    r"""Differentiable first spike times of neurons whose membrane is a weighted sum of kernels.

    .. math::
        u_j(t) = \sum_{i, k} w_{ji}^k \varepsilon(t - t_i - d^k) \qquad u_j(t_j) = \theta \qquad
        \frac{\partial t_j}{\partial w_{ji}^k} =
        - \frac{\varepsilon(t_j - t_i - d^k)}{\dot u_j(t_j)} \qquad
        \frac{\partial t_j}{\partial t_i} =
        \frac{\sum_k w_{ji}^k \dot\varepsilon(t_j - t_i - d^k)}{\dot u_j(t_j)}

    The membranes are laid on a grid of step ``dt`` by one matrix product, and the first crossing is
    then refined to the precision of float64. A crossing and return between two points of the grid
    is missed; take a finer one if that matters. A silent neuron reports infinity and has no
    gradient: see `push_silent`.

    Args:
        times: one spike of each input, [B, I], not negative; infinity means none.
        weight: [J, I, K], of either sign, one for each of K terminals.
        delays: of the terminals, [K], not negative; may be learned.
        until: end of the simulation, which begins at 0.
        response: the kernel; default is ``AlphaResponse(7.0)``, that of the paper for time in ms.
        threshold: theta, positive.
        dt: step of the grid. Delays that are multiples of it are much faster.
        slope_floor: the slope at a spike is divided by and hence taken as at least this many
            ``threshold / response.tau`` in gradients, which near-tangent crossings would otherwise
            make arbitrarily large. The gradients are exact where it is not reached; 0 switches it
            off.

    Returns:
        [B, J], in the dtype of ``weight``; infinity for silent neurons.

    Raises:
        TypeError: times or weights are not floating point.
        ValueError: shapes do not fit, a time is negative, or a number is out of range.

    Source: Bohte, Kok & La Poutré (2002), Neurocomputing 48, 17-37, equations 12-18, in a form safe
    against signs; the paper is known from implementations.

    >>> weight = torch.tensor([[[0.9], [0.9]]], requires_grad=True)
    >>> srm_first_spikes(torch.tensor([[0.0, 2.0]]), weight, torch.tensor([1.0]), until=20.0)
    tensor([[4.0362]], grad_fn=<_FirstSpikesBackward>)
    """
    checks.floating(times, "times")
    checks.floating(weight, "weight")
    if times.dim() != 2 or weight.dim() != 3 or weight.shape[1:] != (times.shape[1], len(delays)):
        raise ValueError(
            f"times [B, I], weight [J, I, K] and delays [K] must fit, got {tuple(times.shape)}, "
            f"{tuple(weight.shape)} "
            f"and {tuple(delays.shape)}; each input has K weights to each neuron"
        )
    if times.dtype != weight.dtype:
        raise TypeError(
            f"times must be {weight.dtype} as the weight, got {times.dtype}; write "
            "times.to(weight.dtype)"
        )
    checks.has_samples(times, "times")
    ever = times.masked_fill(times == math.inf, 0.0)  # a neuron that never fires
    for name, value in (("times", ever), ("delays", delays)):
        checks.in_range(name, value, 0.0, math.inf, why="the simulation begins at 0")
    for name, number in (("until", until), ("dt", dt), ("threshold", threshold)):
        real(name, number, 0.0, open_low=True)
    if until / dt > 2**24:
        raise ValueError(
            f"until / dt must be at most {2**24} steps, got {until / dt:.4g}; write a longer dt"
        )
    real("slope_floor", slope_floor, 0.0, example=0.5)
    plan = Plan(
        AlphaResponse(7.0) if response is None else response, threshold, until, dt, slope_floor
    )
    return _FirstSpikes.apply(plan, times, weight, delays.to(weight))
