"""The loops of a layer without recurrence: each neuron by itself, through the sorted events that reach it.

Plain functions that numba compiles (see `compiled`). ``ev`` holds the events of a batch, ``one`` the neurons, ``own``
scratch, ``out`` the spikes, ``grad`` the gradients: the named tuples of `arrays`. Neurons are the outer loop, so that a
row of weights stays in the cache while all samples pass. ``k`` counts the events of a sample, ``first`` is where they
begin, ``s`` counts the spikes of a neuron.
"""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np

from .closed_forms import crossing, share, share_slopes


def arrange(ev: Any, one: Any, own: Any, b: int, j: int) -> None:
    """Bring the events of sample b into the order in which neuron j receives them."""
    first, total = ev.start[b], ev.start[b + 1] - ev.start[b]
    order, times = np.arange(total), ev.time[first : first + total].copy()
    if one.delay.shape[0]:
        for k in range(total):
            times[k] += one.delay[j, ev.source[first + k]]
        order = np.argsort(times, kind="mergesort")
    n = 0
    while n < total and times[order[n]] < one.until:
        e, k = first + n, first + order[n]
        own.place[e], own.time[e], own.source[e], own.value[e] = k, times[order[n]], ev.source[k], ev.value[k]
        n += 1
    own.count[b] = n
    for e in range(first, first + n):
        d = (own.time[e + 1] if e + 1 < first + n else one.until) - own.time[e]
        own.decay_m[e], own.decay_s[e] = exp(-d / one.tau_m[j]), exp(-d / one.tau_s[j])
        own.share[e] = share(d, one.tau_m[j], one.tau_s[j])


def trace(own: Any, node: int, v: float, i: float) -> None:
    """Keep V and I after a node (an event or a spike), where the gradients of time constants read them."""
    if node < own.v.shape[0]:
        own.v[node], own.i[node] = v, i


def fire(one: Any, own: Any, out: Any, b: int, j: int, k: int, s: int, v: float, i: float, now: float) -> Any:
    """Spikes in the interval after event k, which is at ``now``: V and I at its end, and the spikes so far."""
    tau_m, tau_s, e = one.tau_m[j], one.tau_s[j], own.first[0] + k
    end = own.time[e + 1] if k + 1 < own.count[b] else one.until
    while s < one.limit:
        d = crossing(v, i, tau_m, tau_s, one.theta[j], end - now)
        if d < 0.0:
            break
        i *= exp(-d / tau_s)
        v, now = 0.0, now + d
        if s < out.time.shape[2]:
            out.time[b, j, s], out.current[b, j, s], out.after[b, j, s] = now, i, k
        s += 1
        trace(own, k + s, v, i)
    d = end - now
    return v * exp(-d / tau_m) + i * share(d, tau_m, tau_s), i * exp(-d / tau_s), s


def through(one: Any, own: Any, out: Any, b: int, j: int, first: int) -> int:
    """Take neuron j through the events of sample b; returns the number of its spikes."""
    theta, v, i, s = one.theta[j], 0.0, 0.0, 0
    own.first[0] = first
    for k in range(own.count[b]):
        e = first + k
        i += one.weight[j, own.source[e]] * own.value[e]
        trace(own, k + s, v, i)
        v_end, i_end = v * own.decay_m[e] + i * own.share[e], i * own.decay_s[e]
        if v >= theta or (i > theta and (v_end >= theta or v_end > i_end)):  # it has crossed, or it has peaked
            v_end, i_end, s = fire(one, own, out, b, j, k, s, v, i, own.time[e])
            if s >= one.limit:
                break
        v, i = v_end, i_end
    return s


def forward(start: int, stop: int, ev: Any, one: Any, own: Any, out: Any) -> int:
    """Spikes of neurons start to stop, into ``out``.

    Returns the largest number of spikes of a neuron; if it exceeds the room, the later ones are missing.
    """
    most = 0
    for j in range(start, stop):
        for b in range(ev.start.shape[0] - 1):
            if j == start or not one.shared:
                arrange(ev, one, own, b, j)
            most = max(most, through(one, own, out, b, j, ev.start[b]))
    return most


def span(one: Any, own: Any, grad: Any, j: int, node: int, d: float, lv: float, li: float) -> None:
    """Gradients of the time constants from the d that follow a node, for adjoints at the end."""
    if own.v.shape[0]:
        v, i, tau_m, tau_s = own.v[node], own.i[node], one.tau_m[j], one.tau_s[j]
        by_m, by_s = share_slopes(d, tau_m, tau_s)
        grad.tau_m[j] += lv * (v * exp(-d / tau_m) * d / (tau_m * tau_m) + i * by_m)
        grad.tau_s[j] += lv * i * by_s + li * i * exp(-d / tau_s) * d / (tau_s * tau_s)


def arrived(one: Any, own: Any, grad: Any, j: int, e: int, lv: float, li: float) -> None:
    """Gradients at an event: of the weight, of its delay, and of its time."""
    source, value = own.source[e], own.value[e]
    grad.weight[j, source] += value * li
    if grad.time.shape[0]:
        moved = one.weight[j, source] * value * (li / one.tau_s[j] - lv / one.tau_m[j])
        grad.time[own.place[e]] += moved
        if grad.delay.shape[0]:
            grad.delay[j, source] += moved


def back(one: Any, own: Any, out: Any, grad: Any, g: Any, b: int, j: int, first: int, s: int) -> None:
    """Take the adjoints of neuron j back through sample b, from spike s on; ``g`` are gradients of spike times."""
    tau_m, tau_s, theta = one.tau_m[j], one.tau_s[j], one.theta[j]
    lv, li, k, now, whole = 0.0, 0.0, out.after[b, j, s], out.time[b, j, s], False
    while k >= 0:
        e = first + k
        spiked = s >= 0 and out.after[b, j, s] == k
        d = now - (out.time[b, j, s] if spiked else own.time[e])
        span(one, own, grad, j, k + s + 1, d, lv, li)
        if whole and not spiked:
            lv, li = lv * own.decay_m[e], li * own.decay_s[e] + lv * own.share[e]
        else:
            lv, li = lv * exp(-d / tau_m), li * exp(-d / tau_s) + lv * share(d, tau_m, tau_s)
        now -= d
        if spiked:
            i = out.current[b, j, s]
            lv = (lv * i - g[b, j, s] * tau_m) / max(i - theta, one.slope_floor * theta)
            grad.theta[j] -= lv
            s, whole = s - 1, False
        else:
            arrived(one, own, grad, j, e, lv, li)
            k, whole = k - 1, True


def backward(ev: Any, one: Any, own: Any, out: Any, grad: Any, g: Any) -> None:
    """Gradients of the loss for ``g`` [B, J, room], the gradients of the spike times in ``out``."""
    for j in range(out.time.shape[1]):
        for b in range(ev.start.shape[0] - 1):
            if j == 0 or not one.shared:
                arrange(ev, one, own, b, j)
            s = out.time.shape[2] - 1
            while s >= 0 and (g[b, j, s] == 0.0 or out.time[b, j, s] == np.inf):
                s -= 1
            if s >= 0:
                if own.v.shape[0]:
                    through(one, own, out, b, j, ev.start[b])
                back(one, own, out, grad, g, b, j, ev.start[b], s)
