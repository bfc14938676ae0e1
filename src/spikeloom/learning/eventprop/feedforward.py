"""The loops of a layer without recurrence: each neuron alone, through its sorted events.

Plain functions that numba compiles (see `compiled`). ``ev`` holds the events of a batch, ``one``
the neurons, ``own`` scratch, ``out`` the spikes, ``grad`` the gradients: the named tuples of
`arrays`. Neurons are the outer loop, so that a row of weights stays in the cache while all samples
pass. ``k`` counts the events of a sample, ``first`` is where they begin, ``s`` counts the spikes of
a neuron.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .closed_forms import crossing, decays, share_slopes


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
        own.place[e], own.time[e], own.source[e], own.value[e] = (
            k,
            times[order[n]],
            ev.source[k],
            ev.value[k],
        )
        n += 1
    own.count[b] = n
    for e in range(first, first + n):
        d = (own.time[e + 1] if e + 1 < first + n else one.until) - own.time[e]
        own.decay_m[e], own.decay_s[e], own.share[e] = decays(d, one.tau_m[j], one.tau_s[j])


def fire(
    cell: Any, out: Any, b: int, j: int, k: int, s: int, v: float, i: float, now: float, end: float
) -> Any:
    """Spikes between event k at ``now`` and the next at ``end``: last V, I and spike count."""
    tau_m, tau_s, theta, limit = cell
    while s < limit:
        d = crossing(v, i, tau_m, tau_s, theta, end - now)
        if d < 0.0:
            break
        i *= decays(d, tau_m, tau_s)[1]
        v, now = 0.0, now + d
        if s < out.time.shape[2]:
            out.time[b, j, s], out.current[b, j, s], out.after[b, j, s] = now, i, k
        s += 1
    em, es, share = decays(end - now, tau_m, tau_s)
    return v * em + i * share, i * es, s


def through(one: Any, own: Any, out: Any, b: int, j: int, first: int) -> int:
    """Take neuron j through the events of sample b; returns the number of its spikes."""
    theta, tau_m, v, i, s, n = one.theta[j], one.tau_m[j], 0.0, 0.0, 0, own.count[b]
    row, source, value, time, traced = (
        one.weight[j],
        own.source,
        own.value,
        own.time,
        own.v.shape[0] > 0,
    )
    decay_m, decay_s, part, cell = (
        own.decay_m,
        own.decay_s,
        own.share,
        (tau_m, one.tau_s[j], theta, one.limit),
    )
    for k in range(n):
        e = first + k
        i += row[source[e]] * value[e]
        if traced:
            own.v[k + s], own.i[k + s] = v, i
        v_end, i_end, end = (
            v * decay_m[e] + i * part[e],
            i * decay_s[e],
            time[e + 1] if k + 1 < n else one.until,
        )
        tangent = v + (i - v) * (end - time[e]) / tau_m
        if v >= theta or (i > theta and (v_end >= theta or (v_end > i_end and tangent >= theta))):
            before = s
            v_end, i_end, s = fire(cell, out, b, j, k, s, v, i, time[e], end)
            if s >= one.limit:
                break
            if traced:
                for m in range(before, s):
                    own.v[k + m + 1], own.i[k + m + 1] = 0.0, out.current[b, j, m]
        v, i = v_end, i_end
    return s


def suspects(v: Any, i: Any, row: Any, theta: Any, value: float, left: Any) -> int:
    """How many of the neurons side by side may fire in an interval that begins with an event.

    The membrane ends above threshold, or it has its maximum inside and its tangent at the beginning
    reaches threshold.
    """
    decay_m, decay_s, part, slope = left
    found = 0
    for j in range(row.shape[0]):
        now = i[j] + row[j] * value
        v_end = v[j] * decay_m + now * part
        passed = (v_end > now * decay_s) & (v[j] + (now - v[j]) * slope >= theta[j])
        found += (now > theta[j]) & ((v_end >= theta[j]) | passed)
    return found


def pass_by(v: Any, i: Any, row: Any, value: float, left: Any) -> None:
    """Advance the neurons together through an event and its interval, as if none fired."""
    decay_m, decay_s, part, _ = left
    for j in range(row.shape[0]):
        now = i[j] + row[j] * value
        v[j] = v[j] * decay_m + now * part
        i[j] = now * decay_s


def abreast(one: Any, own: Any, wide: Any, out: Any, b: int, first: int) -> int:
    """Advance all neurons together through the events of sample b; the largest spike count."""
    v, i, count, who, theta, most, limit = (
        wide.v,
        wide.i,
        wide.count,
        wide.who,
        wide.theta,
        0,
        one.limit,
    )
    v[:], i[:], count[:] = 0.0, 0.0, 0
    tau_m, tau_s, total = one.tau_m[0], one.tau_s[0], own.count[b]
    for k in range(total):
        e, n = first + k, 0
        start, end, value = (
            own.time[e],
            own.time[e + 1] if k + 1 < total else one.until,
            own.value[e],
        )
        left = (own.decay_m[e], own.decay_s[e], own.share[e], (end - start) / tau_m)
        row = wide.weight[own.source[e]]
        number = suspects(v, i, row, theta, value, left)
        for j in range(row.shape[0] if number else 0):
            now = i[j] + row[j] * value
            v_end = v[j] * left[0] + now * left[2]
            passed = v_end > now * left[1] and v[j] + (now - v[j]) * left[3] >= theta[j]
            if now > theta[j] and (v_end >= theta[j] or passed):
                cell = (tau_m, tau_s, theta[j], limit)
                wide.v_end[n], wide.i_end[n], count[j] = fire(
                    cell, out, b, j, k, count[j], v[j], now, start, end
                )
                if count[j] >= limit:
                    wide.v_end[n], wide.i_end[n] = -np.inf, -np.inf  # it is silent from now on
                who[n], n, most = j, n + 1, max(most, count[j])
                if n == number:
                    break
        pass_by(v, i, row, value, left)
        for m in range(n):
            v[who[m]], i[who[m]] = wide.v_end[m], wide.i_end[m]
    return most


def forward(ev: Any, one: Any, own: Any, wide: Any, out: Any) -> int:
    """Spikes of a layer, into ``out``.

    Returns the largest number of spikes of a neuron; if it exceeds the room, the later ones are
    missing.
    """
    most, neurons = 0, out.time.shape[1]
    for j in range(1 if wide.weight.shape[0] else neurons):
        for b in range(ev.start.shape[0] - 1):
            if j == 0 or not one.shared:
                arrange(ev, one, own, b, j)
            if wide.weight.shape[0]:
                most = max(most, abreast(one, own, wide, out, b, ev.start[b]))
            else:
                most = max(most, through(one, own, out, b, j, ev.start[b]))
    return most


def span(
    grad: Any,
    j: int,
    v: float,
    i: float,
    d: float,
    lv: float,
    li: float,
    tau_m: float,
    tau_s: float,
) -> None:
    """Gradients of the time constants from a time d without event.

    V and I are those before it, the adjoints those after it.
    """
    by_m, by_s = share_slopes(d, tau_m, tau_s)
    em, es, _ = decays(d, tau_m, tau_s)
    grad.tau_m[j] += lv * (v * em * d / (tau_m * tau_m) + i * by_m)
    grad.tau_s[j] += lv * i * by_s + li * i * es * d / (tau_s * tau_s)


def back(
    one: Any, own: Any, out: Any, grad: Any, g: Any, b: int, j: int, first: int, s: int
) -> None:
    """Adjoints of neuron j back through sample b from spike s; ``g`` are spike time gradients."""
    tau_m, tau_s, theta = one.tau_m[j], one.tau_s[j], one.theta[j]
    time, source, value, row, weight = (
        own.time,
        own.source,
        own.value,
        grad.weight[j],
        one.weight[j],
    )
    after, fired, decay_m, decay_s, part = (
        out.after[b, j],
        out.time[b, j],
        own.decay_m,
        own.decay_s,
        own.share,
    )
    traced, timed, delayed = own.v.shape[0] > 0, grad.time.shape[0] > 0, grad.delay.shape[0] > 0
    lv, li, k, now, whole = 0.0, 0.0, after[s], fired[s], False
    while k >= 0:
        e = first + k
        spiked = s >= 0 and after[s] == k
        d = now - (fired[s] if spiked else time[e])
        if traced:
            span(grad, j, own.v[k + s + 1], own.i[k + s + 1], d, lv, li, tau_m, tau_s)
        if whole and not spiked:
            lv, li = lv * decay_m[e], li * decay_s[e] + lv * part[e]
        else:
            em, es, share = decays(d, tau_m, tau_s)
            lv, li = lv * em, li * es + lv * share
        now -= d
        if spiked:
            i = out.current[b, j, s]
            lv = (lv * i - g[b, j, s] * tau_m) / max(i - theta, one.slope_floor * theta)
            grad.theta[j] -= lv
            s, whole = s - 1, False
            continue
        row[source[e]] += value[e] * li
        if timed:
            change = weight[source[e]] * value[e] * (li / tau_s - lv / tau_m)
            grad.time[own.place[e]] += change
            if delayed:
                grad.delay[j, source[e]] += change
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
