"""The loops of a recurrent layer: one sample at a time, all neurons from event to event.

Plain functions that numba compiles (see `compiled`), with the names of `feedforward`. ``log`` is
the course of a sample: what happened, in order. Every input and every arrival within the layer
reaches all neurons, a spike only its own.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from .closed_forms import crossing, decays
from .feedforward import arrange, span

INPUT, ARRIVAL, SPIKE = 0, 1, 2


def left(one: Any, log: Any, j: int, d: float) -> Any:
    """The decays of neuron j after a time d; most neurons ask for those of the neuron before."""
    if not (one.shared and d == log.seen[0]):
        log.seen[0] = d
        log.seen[1], log.seen[2], log.seen[3] = decays(d, one.tau_m[j], one.tau_s[j])
    return log.seen[1], log.seen[2], log.seen[3]


def advance(one: Any, log: Any, j: int, now: float) -> None:
    """Take neuron j to ``now``."""
    em, es, share = left(one, log, j, now - log.last[j])
    log.v[j] = log.v[j] * em + log.i[j] * share
    log.i[j] *= es
    log.last[j] = now


def note(log: Any, node: int, what: int, which: int, now: float) -> None:
    """Write down what happened."""
    log.what[node], log.which[node], log.time[node] = what, which, now


def after(one: Any, log: Any, node: int, j: int, horizon: float) -> None:
    """Store the state of neuron j after a node if requested, and predict its next spike."""
    if log.traced_v.shape[0]:
        log.traced_v[node, j], log.traced_i[node, j] = log.v[j], log.i[j]
    d = crossing(
        log.v[j], log.i[j], one.tau_m[j], one.tau_s[j], one.theta[j], horizon - log.last[j]
    )
    log.cross[j] = log.last[j] + d if d >= 0.0 and log.number[j] < one.limit else inf


def spiked(out: Any, log: Any, b: int, j: int, q: int, now: float) -> None:
    """Neuron j fires: reset it, and queue its spike as the q-th one."""
    s = log.number[j]
    out.time[b, j, s], out.current[b, j, s] = now, log.i[j]
    log.v[j], log.fired[q], log.fired_as[q], log.fired_at[q] = 0.0, j, s, now
    log.number[j] += 1


def course(ev: Any, one: Any, rec: Any, own: Any, out: Any, log: Any, b: int) -> int:
    """Run sample b; the number of nodes, or -1 if a neuron has more spikes than there is room."""
    first, k, q, head, node, n = ev.start[b], 0, 0, 0, 0, own.count[b]
    for j in range(log.v.shape[0]):
        log.v[j], log.i[j], log.last[j], log.cross[j], log.number[j] = 0.0, 0.0, 0.0, inf, 0
    log.seen[0] = -1.0
    while True:
        given = own.time[first + k] if k < n else inf
        inner = log.fired_at[head] + rec.delay if head < q else inf
        j = int(np.argmin(log.cross))
        now = min(log.cross[j], given, inner)
        if now >= one.until:
            return node
        if now < min(given, inner):
            if log.number[j] >= out.time.shape[2]:
                return -1
            advance(one, log, j, now)
            spiked(out, log, b, j, q, now)
            note(log, node, SPIKE, q, now)
            q += 1
            after(one, log, node, j, min(given, inner, now + rec.delay, one.until))
        elif inner <= given:
            note(log, node, ARRIVAL, head, now)
            source, head = log.fired[head], head + 1
            inner = log.fired_at[head] + rec.delay if head < q else inf
            for j in range(log.v.shape[0]):
                advance(one, log, j, now)
                log.i[j] += rec.weight[j, source]
                after(one, log, node, j, min(given, inner, one.until))
        else:
            note(log, node, INPUT, k, now)
            source, value, k = own.source[first + k], own.value[first + k], k + 1
            given = own.time[first + k] if k < n else inf
            for j in range(log.v.shape[0]):
                advance(one, log, j, now)
                log.i[j] += one.weight[j, source] * value
                after(one, log, node, j, min(given, inner, one.until))
        node += 1


def forward_recurrent(ev: Any, one: Any, rec: Any, own: Any, out: Any, log: Any) -> int:
    """Spikes of a layer into ``out``; -1 if a neuron has more than there is room, else 0."""
    for b in range(ev.start.shape[0] - 1):
        arrange(ev, one, own, b, 0)
        if course(ev, one, rec, own, out, log, b) < 0:
            return -1
    return 0


def retreat(one: Any, log: Any, grad: Any, node: int, j: int, now: float) -> None:
    """Take the adjoints of neuron j back to a node."""
    lv, li, d = log.lv[j], log.li[j], log.last[j] - now
    if log.traced_v.shape[0]:
        v, i = log.traced_v[node, j], log.traced_i[node, j]
        span(grad, j, v, i, d, lv, li, one.tau_m[j], one.tau_s[j])
    em, es, share = left(one, log, j, d)
    log.lv[j], log.li[j] = lv * em, li * es + lv * share
    log.last[j] = now


def reverse(
    ev: Any, one: Any, rec: Any, own: Any, out: Any, log: Any, grad: Any, g: Any, b: int, nodes: int
) -> None:
    """Take the adjoints back through the course of sample b."""
    first = ev.start[b]
    log.lv[:], log.li[:], log.last[:], log.seen[0] = 0.0, 0.0, one.until, -1.0
    log.pull[:] = 0.0
    for node in range(nodes - 1, -1, -1):
        what, which, now, moved = log.what[node], log.which[node], log.time[node], 0.0
        if what == SPIKE:
            j = log.fired[which]
            retreat(one, log, grad, node, j, now)
            s = log.fired_as[which]
            i, pull = out.current[b, j, s], g[b, j, s] + log.pull[which]
            log.lv[j] = (log.lv[j] * i - pull * one.tau_m[j]) / max(
                i - one.theta[j], one.slope_floor * one.theta[j]
            )
            grad.theta[j] -= log.lv[j]
            continue
        e = first + which
        source, value = (
            (log.fired[which], 1.0) if what == ARRIVAL else (own.source[e], own.value[e])
        )
        for j in range(log.lv.shape[0]):
            retreat(one, log, grad, node, j, now)
            lv, li = log.lv[j], log.li[j]
            if what == ARRIVAL:
                grad.recurrent[j, source] += li
                moved += rec.weight[j, source] * (li / one.tau_s[j] - lv / one.tau_m[j])
            else:
                grad.weight[j, source] += value * li
                moved += one.weight[j, source] * value * (li / one.tau_s[j] - lv / one.tau_m[j])
        if what == ARRIVAL:
            log.pull[which] += moved
            grad.wait[0] += moved
        elif grad.time.shape[0]:
            grad.time[own.place[e]] += moved


def backward_recurrent(
    ev: Any, one: Any, rec: Any, own: Any, out: Any, log: Any, grad: Any, g: Any
) -> None:
    """Gradients of the loss for ``g`` [B, J, room]; every sample is run again for its course."""
    for b in range(ev.start.shape[0] - 1):
        arrange(ev, one, own, b, 0)
        nodes = course(ev, one, rec, own, out, log, b)
        reverse(ev, one, rec, own, out, log, grad, g, b, nodes)
