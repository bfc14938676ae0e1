"""From tensors to the arrays of the event loops, with their checks."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import Events, Neurons

__all__ = ["events", "neurons"]


def events(times: Tensor, value: Tensor | None = None) -> tuple[Events, np.ndarray]:
    """Finite times [B, I, K] as sorted events, and where each stands in ``times``.

    >>> found, slot = events(torch.tensor([[[2.0], [torch.inf], [1.0]]]))
    >>> found.time, found.source, slot
    (array([1., 2.]), array([2, 0]), array([2, 0]))
    """
    samples, _, each = times.shape
    flat = times.detach().to("cpu", torch.float64).reshape(samples, -1).numpy()
    row, column = np.nonzero(np.isfinite(flat))
    when = flat[row, column]
    order = np.lexsort((when, row))
    row, column = row[order], column[order]
    start = np.zeros(samples + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=samples), out=start[1:])
    slot = row * flat.shape[1] + column
    factor = np.ones(len(slot)) if value is None else _double(value).reshape(-1)[slot]
    return Events(start, when[order], column // each, factor), slot


def neurons(plan: Any, weight: Tensor, delay: Tensor | None, tau_m: Tensor, tau_s: Tensor, theta: Tensor) -> Neurons:
    """A layer as arrays."""
    each = [_double(x) for x in (tau_m, tau_s, theta)]
    uniform = bool((each[0] == each[0][:1]).all() and (each[1] == each[1][:1]).all())
    return Neurons(
        weight=_double(weight),
        delay=np.zeros((0, 0)) if delay is None else _double(delay),
        tau_m=each[0],
        tau_s=each[1],
        theta=each[2],
        until=plan.until,
        limit=plan.limit,
        shared=uniform and delay is None,
        slope_floor=plan.slope_floor,
    )


def _double(x: Tensor) -> np.ndarray:
    return x.detach().to("cpu", torch.float64).contiguous().numpy()
