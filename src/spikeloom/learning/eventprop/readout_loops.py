"""The loops of neurons that do not fire: time and height of their maximum, and gradients.

Plain functions that numba compiles (see `compiled`), with the names of `feedforward`.
"""

from __future__ import annotations

from typing import Any

from .closed_forms import decays, peak
from .feedforward import arrange, span


def highest(one: Any, own: Any, out: Any, b: int, j: int, first: int) -> None:
    """The maximum of neuron j in sample b, its time, and the event before it.

    A membrane that never rises above 0 has the maximum 0, after event -1, and no time.
    """
    v, i, best = 0.0, 0.0, 0.0
    tau_m, tau_s = one.tau_m[j], one.tau_s[j]
    out.current[b, j, 0] = 0.0
    out.after[b, j, 0] = -1
    for k in range(own.count[b]):
        e = first + k
        i += one.weight[j, own.source[e]] * own.value[e]
        if own.v.shape[0]:
            own.v[k], own.i[k] = v, i
        v_end, i_end = v * own.decay_m[e] + i * own.share[e], i * own.decay_s[e]
        d = (own.time[e + 1] if k + 1 < own.count[b] else one.until) - own.time[e]
        top, at = v_end, d
        if i > v and i > 0.0 and v_end > i_end:  # it has its peak inside
            at = min(peak(v, i, tau_m, tau_s), d)
            em, _, share = decays(at, tau_m, tau_s)
            top = v * em + i * share
        if top > best:
            best = top
            out.current[b, j, 0], out.after[b, j, 0], out.time[b, j, 0] = top, k, own.time[e] + at
        v, i = v_end, i_end


def highest_of_all(ev: Any, one: Any, own: Any, out: Any) -> None:
    """Maxima of all membranes into ``out.current``, [B, J, 1]."""
    for j in range(one.weight.shape[0]):
        for b in range(ev.start.shape[0] - 1):
            if j == 0 or not one.shared:
                arrange(ev, one, own, b, j)
            highest(one, own, out, b, j, ev.start[b])


def highest_back(ev: Any, one: Any, own: Any, out: Any, grad: Any, g: Any) -> None:
    """Gradients for ``g`` [B, J, 1], those of the maxima; the time of a maximum has none."""
    for j in range(one.weight.shape[0]):
        for b in range(ev.start.shape[0] - 1):
            if j == 0 or not one.shared:
                arrange(ev, one, own, b, j)
            if own.v.shape[0]:
                highest(one, own, out, b, j, ev.start[b])
            tau_m, tau_s, now = one.tau_m[j], one.tau_s[j], out.time[b, j, 0]
            lv, li = g[b, j, 0], 0.0
            for k in range(out.after[b, j, 0], -1, -1):
                e = ev.start[b] + k
                d = now - own.time[e]
                if own.v.shape[0]:
                    span(grad, j, own.v[k], own.i[k], d, lv, li, tau_m, tau_s)
                em, es, share = decays(d, tau_m, tau_s)
                lv, li, now = lv * em, li * es + lv * share, own.time[e]
                source, value = own.source[e], own.value[e]
                grad.weight[j, source] += value * li
                if grad.time.shape[0]:
                    change = one.weight[j, source] * value * (li / tau_s - lv / tau_m)
                    grad.time[own.place[e]] += change
                    if grad.delay.shape[0]:
                        grad.delay[j, source] += change
