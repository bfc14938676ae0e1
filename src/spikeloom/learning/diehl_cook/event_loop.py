"""The loops of the event-driven engine, as plain functions that numba compiles (see `event`).

A step costs one row of weights for each input spike, and the equations of the neurons. These and
the change of the weights at spikes are printed (see `printed`) and come as functions ``f``. Weights
are [inputs, neurons] here, so that a row is contiguous.

Within a step: drive of the weights as they are, excitatory spikes, inhibitory spikes (felt one step
later), weights, traces. Arguments are grouped in the named tuples of `event_arrays`: ``c``
constants, ``rule`` numbers of the learning rule, ``net`` what is learned, ``s`` the neurons and
``traces`` the traces in a presentation, ``ev`` its input spikes.
"""

from __future__ import annotations

from math import log, log1p
from typing import Any

import numpy as np

NEVER = -(1 << 40)


def uniform(seed: Any) -> Any:
    """The next number of a splitmix64 sequence, in (0, 1)."""
    seed[0] += np.uint64(0x9E3779B97F4A7C15)
    z = seed[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (np.float64(z >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


def draw(x: Any, per_step: float, steps: int, seed: Any, ev: Any) -> None:
    """Bernoulli spikes of probability ``x * per_step`` into ``ev``, sorted by time.

    The gaps between spikes are drawn.
    """
    ev.start[:] = 0
    n = 0
    for i in range(x.shape[0]):
        p = min(x[i] * per_step, 1.0)
        if p <= 0.0:
            continue
        scale = 1.0 / log1p(-p) if p < 1.0 else -0.0
        t = -1
        while True:
            gap = log(uniform(seed)) * scale
            if gap >= steps:
                break
            t += 1 + int(gap)
            if t >= steps:
                break
            ev.when[n], ev.which[n] = t, i
            ev.start[t + 1] += 1
            n += 1
    for t in range(steps):
        ev.start[t + 1] += ev.start[t]
        ev.place[t] = ev.start[t]
    for k in range(n):
        t = ev.when[k]
        ev.sorted[ev.place[t]] = ev.which[k]
        ev.place[t] += 1


def rest(s: Any, traces: Any) -> None:
    """Forget the last presentation."""
    s.exc[:] = 0
    s.inh[:] = 0
    s.inh_at[:] = NEVER
    s.answers[:] = 0
    s.size[:] = 0
    s.count[:] = 0
    traces.pre[:] = 0
    traces.pre_at[:] = NEVER
    traces.post[:] = 0
    traces.post_at[:] = NEVER
    traces.size[:] = 0


def drive(w: Any, gain: Any, rows: Any, x: Any) -> None:
    """The input of the excitatory neurons by spikes of the inputs ``rows``, into ``x``.

    Eight rows at a time, so that a sum is loaded and stored once for eight weights.
    """
    x[:] = 0
    e = 0
    while e + 8 <= rows.shape[0]:
        a, b, c, d = w[rows[e]], w[rows[e + 1]], w[rows[e + 2]], w[rows[e + 3]]
        p, q, r, s = w[rows[e + 4]], w[rows[e + 5]], w[rows[e + 6]], w[rows[e + 7]]
        for j in range(x.shape[0]):
            x[j] = x[j] + a[j] + b[j] + c[j] + d[j] + p[j] + q[j] + r[j] + s[j]
        e += 8
    if e + 4 <= rows.shape[0]:
        a, b, c, d = w[rows[e]], w[rows[e + 1]], w[rows[e + 2]], w[rows[e + 3]]
        for j in range(x.shape[0]):
            x[j] = x[j] + a[j] + b[j] + c[j] + d[j]
        e += 4
    while e < rows.shape[0]:
        a = w[rows[e]]
        for j in range(x.shape[0]):
            x[j] += a[j]
        e += 1
    if gain != 1:
        for j in range(x.shape[0]):
            x[j] *= gain


def inhibit(x: Any, s: Any, inhibition: Any) -> None:
    """Subtract what the inhibitory spikes of the step before do to all neurons but the partner."""
    samples = s.size.shape[0]
    n = x.shape[0] // samples
    for b in range(samples):
        spikes = np.float32(s.size[b])
        for g in range(b * n, b * n + n if s.size[b] else 0):
            x[g] -= inhibition * (spikes - s.answers[g])
            s.answers[g] = 0
        s.size[b] = 0


def raised(theta: Any, level: Any, row: Any) -> None:
    """The rise of the thresholds of all samples, ``level * theta``, into ``row``."""
    n = theta.shape[0]
    for first in range(0, row.shape[0], n):
        part = row[first : first + n]
        for j in range(n):
            part[j] = theta[j] * level


def crossers(over: Any, fired: Any, samples: int, one_winner: bool) -> int:
    """List who fires, in each sample all or the one furthest above its threshold."""
    some = False
    for g in range(over.shape[0]):
        some |= over[g] > 0
    if not some:
        return 0
    n, found = over.shape[0] // samples, 0
    for b in range(samples):
        best, first = np.float32(0), found
        for g in range(b * n, b * n + n):
            if over[g] <= best:
                continue
            if one_winner:
                best, found = over[g], first
            fired[found] = g
            found += 1
    return found


def fire(s: Any, c: Any, f: Any, fired: int) -> None:
    """The states of the excitatory neurons that fire, into ``s.fresh``."""
    for k in range(fired):
        f.exc_fires(s.x, s.exc, s.fresh, s.fired[k], k, c.exc)


def settle(s: Any, c: Any, f: Any, fired: int, t: int) -> int:
    """Write the states of neurons that fire, and run their partners; the number of answers."""
    n = s.count.shape[0] // s.size.shape[0]
    answers = 0
    for k in range(fired):
        g = s.fired[k]
        for row in range(s.exc.shape[0]):
            s.exc[row, g] = s.fresh[row, k]
        s.count[g] += 1
    for k in range(fired):
        g = s.fired[k]
        if answer(s, c, f, g, t):
            s.answers[g] = 1
            s.size[g // n] += 1
            answers += 1
    return answers


def answer(s: Any, c: Any, f: Any, g: int, t: int) -> bool:
    """The step of an inhibitory neuron in which its partner fires; whether it fires too.

    Without input it does not fire, so that the steps since its last input are made up for here. At
    rest it stays at rest.
    """
    state, over = s.inh[g], s.over[:1]
    if s.inh_at[g] != NEVER:
        s.drive[0] = 0
        f.inh_rests(s.drive, state, t - 1 - s.inh_at[g], c.inh)
    s.inh_at[g] = t
    s.drive[0] = c.excitation
    f.inh_excess(s.drive, state, over, c.inh)
    if over[0] <= 0:
        f.inh_rests(s.drive, state, 1, c.inh)
        return False
    f.inh_fires(s.drive, state, s.fresh, 0, 0, c.inh)
    for row in range(state.shape[0]):
        state[row, 0] = s.fresh[row, 0]
    return True


def present(
    net: Any,
    s: Any,
    c: Any,
    f: Any,
    rule: Any,
    traces: Any,
    ev: Any,
    steps: int,
    learn: bool,
) -> int:
    """Show the spikes of ``ev`` from the state in ``s``; returns the number of excitatory spikes.

    Within the loop, the named tuples are read at spikes only: to read an array from one, or to pass
    one on, costs as much as the equations of fifty neurons.
    """
    level, total, answers = np.float32(1), 0, 0
    x, exc, over, theta, w, gain = s.x, s.exc, s.over, net.theta, net.w, c.gain
    start, source, levels, fired, learners = ev.start, ev.sorted, c.levels, s.fired, traces.size
    row, k, one_winner, rise = exc[c.theta_row], c.exc, c.one_winner, c.theta_plus
    pre, pre_at, tables, numbers = traces.pre, traces.pre_at, rule.tables, rule.k
    inhibition, by_input = c.inhibition, rule.by_input
    if rule.everywhere:
        learners[0] = theta.shape[0]
        for j in range(theta.shape[0]):
            traces.learners[j] = j
    for t in range(steps):
        rows = source[start[t] : start[t + 1]]
        drive(w, gain, rows, x)
        if answers:
            inhibit(x, s, inhibition)
        if learn:
            level = levels[t]
        raised(theta, level, row)
        f.exc_excess(x, exc, over, k)
        found = crossers(over, fired, 1, one_winner)
        if found:
            fire(s, c, f, found)
        f.exc_rests(x, exc, 1, k)
        answers = settle(s, c, f, found, t) if found else 0
        total += found
        if learn:
            for n in range(found):
                theta[fired[n]] += rise / level
            if found or (by_input and learners[0]):
                f.plasticity(w, traces, rule, rows, fired, found, t)
            f.trace(rows, pre, pre_at, tables, numbers, t)
    if learn:
        for j in range(theta.shape[0]):
            theta[j] *= level
    return total


def normalize(w: Any, j: int, norm: Any) -> None:
    """Scale the weights of a neuron so that their magnitudes sum to ``norm``."""
    total = 0.0
    for i in range(w.shape[0]):
        total += abs(w[i, j])
    if total > 0:
        factor = np.float32(norm / total)
        for i in range(w.shape[0]):
            w[i, j] *= factor


def show(
    net: Any,
    s: Any,
    c: Any,
    f: Any,
    rule: Any,
    traces: Any,
    ev: Any,
    images: Any,
    seeds: Any,
    counts: Any,
    learn: bool,
) -> int:
    """Show images one by one, each again and brighter while it causes too few spikes."""
    shown = 0
    for n in range(images.shape[0]):
        for again in range(c.retries + 1):
            draw(images[n], c.rate + again * c.boost, c.steps, seeds[n : n + 1], ev)
            rest(s, traces)
            total = present(net, s, c, f, rule, traces, ev, c.steps, learn)
            shown += 1
            if learn:
                for k in range(traces.size[0]):
                    normalize(net.w, traces.learners[k], c.norm)
                for j in range(net.theta.shape[0]):
                    net.theta[j] *= c.theta_rest
            if total >= c.min_spikes:
                break
        counts[n] = s.count
    return shown
