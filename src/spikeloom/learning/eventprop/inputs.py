"""From tensors to the arrays of the event loops, with their checks."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core import checks
from ...core.numbers import real, whole
from .arrays import Events, Neurons
from .compiled import ENGINES

__all__ = ["Plan", "checked", "double", "events", "neurons"]

NO_LIMIT = 2**62
LONGEST = 1e6  # of a window, in time constants of the membrane: a neuron may fire at each of them


class Plan(NamedTuple):
    """What has no gradient."""

    until: float
    limit: Any
    slope_floor: float
    engine: str
    value: Tensor | None


def checked(
    plan: Plan,
    times: Tensor,
    weight: Tensor,
    delay: Any,
    recurrent: Any,
    tau_m: Any,
    tau_s: Any,
    threshold: Any,
) -> tuple[Plan, Tensor, list[Tensor]]:
    """The arguments of `lif_spikes` in their full shapes.

    Raises:
        TypeError, ValueError: one of them is not as described there.
    """
    _plan(plan)
    checks.floating(times, "times")
    checks.floating(weight, "weight")
    checks.finite(weight, "weight")
    if weight.dim() != 2 or times.dim() not in (2, 3) or times.shape[1] != weight.shape[1]:
        raise ValueError(
            f"times [B, I] or [B, I, K] must fit weight [J, I], got {tuple(times.shape)} and "
            f"{tuple(weight.shape)}; "
            "each input has a column of weights"
        )
    checks.has_samples(times, "times")
    neurons = len(weight)
    for name, found, shape in (
        ("delay", delay, weight.shape),
        ("recurrent", recurrent, (neurons, neurons)),
    ):
        if found is not None and found.shape != shape:
            raise ValueError(
                f"{name} must have shape {tuple(shape)}, got {tuple(found.shape)}; one for each "
                "synapse"
            )
    if delay is not None and recurrent is not None:
        raise ValueError(
            "delay is for layers without recurrent weights, got both; write recurrent_delay=..."
        )
    if delay is not None:
        checks.in_range("delay", delay, 0.0, math.inf, why="an effect cannot come before its cause")
    if bool((times.isnan() | (times == -math.inf)).any()):
        raise ValueError(
            "times must be numbers, or infinity for no spike, got NaN or minus infinity; write "
            "torch.inf"
        )
    constants = []
    for name, given in (("tau_m", tau_m), ("tau_s", tau_s), ("threshold", threshold)):
        checks.in_range(name, given, 0.0, math.inf, open_low=True)
        numbers = torch.as_tensor(given, dtype=weight.dtype)
        if numbers.shape not in ((), (1,), (neurons,)):
            raise ValueError(
                f"{name} must be one number or [J] = [{neurons}], got shape {tuple(numbers.shape)}"
            )
        constants.append(numbers.expand(neurons))
    shortest = float(constants[0].detach().min())
    if plan.limit is None and plan.until > LONGEST * shortest:
        raise ValueError(
            f"tau_m must be at least a millionth of until={plan.until:g}, got {shortest:g}, or a "
            "neuron fires without end; write max_spikes=1000 for neurons as fast as that"
        )
    value = plan.value
    if value is not None and value.shape != times.shape:
        raise ValueError(
            f"value must have the shape of times {tuple(times.shape)}, got {tuple(value.shape)}"
        )
    limit = NO_LIMIT if plan.limit is None else whole("max_spikes", plan.limit, 1, NO_LIMIT)
    times = times if times.dim() == 3 else times.unsqueeze(-1)
    return plan._replace(until=float(plan.until), limit=limit), times, constants


def _plan(plan: Plan) -> None:
    checks.choice("engine", plan.engine, ENGINES)
    real("until", plan.until, example=50.0)
    real("slope_floor", plan.slope_floor, 0.0, example=0.01)


def events(times: Tensor, value: Tensor | None = None) -> tuple[Events, np.ndarray]:
    """Finite times [B, I, K] as sorted events, and the position of each in ``times``.

    >>> found, slot = events(torch.tensor([[[2.0], [torch.inf], [1.0]]]))
    >>> found.time, found.source, slot
    (array([1., 2.]), array([2, 0]), array([2, 0]))
    """
    samples, _, each = times.shape
    flat = double(times).reshape(samples, -1)
    row, column = np.nonzero(np.isfinite(flat))
    when = flat[row, column]
    order = np.lexsort((when, row))
    row, column = row[order], column[order]
    start = np.zeros(samples + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=samples), out=start[1:])
    slot = row * flat.shape[1] + column
    factor = np.ones(len(slot)) if value is None else double(value).reshape(-1)[slot]
    return Events(start, when[order], column // each, factor), slot


def neurons(
    plan: Plan, weight: Tensor, delay: Tensor | None, tau_m: Tensor, tau_s: Tensor, theta: Tensor
) -> Neurons:
    """A layer as arrays."""
    each = [double(x) for x in (tau_m, tau_s, theta)]
    uniform = bool((each[0] == each[0][:1]).all() and (each[1] == each[1][:1]).all())
    return Neurons(
        weight=double(weight),
        delay=np.zeros((0, 0)) if delay is None else double(delay),
        tau_m=each[0],
        tau_s=each[1],
        theta=each[2],
        until=plan.until,
        limit=plan.limit,
        shared=uniform and delay is None,
        slope_floor=plan.slope_floor,
    )


def double(x: Tensor) -> np.ndarray:
    """A tensor as a contiguous array of float64."""
    return x.detach().to("cpu", torch.float64).contiguous().numpy()
