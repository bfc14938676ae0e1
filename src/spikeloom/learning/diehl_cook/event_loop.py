"""The loops of the event-driven engine, as plain functions that numba compiles (see `event`).

Time is a loop, space is events: a step costs one pass over the excitatory membranes and one row of
weights for each input spike. What only matters at spikes (traces, inhibitory membranes, refractory
periods) is brought up to date there, with tables of powers instead of decays. Weights lie as
[inputs, neurons] here, so that a row is contiguous.

Within a step: drive of the weights as they are, excitatory spikes, inhibitory spikes (felt one step
later), traces, weights. Arguments are grouped in the named tuples of `event`: ``c`` constants,
``rule`` the learning rule, ``net`` what is learned, ``s`` the state of a presentation, ``ev`` its
input spikes.
"""

from __future__ import annotations

from math import exp, log, log1p
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
    """Bernoulli spikes of probability ``x * per_step``, drawn by their gaps, sorted by time into
    ``ev``."""
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


def rest(s: Any) -> None:
    """Forget the last presentation."""
    s.mem[:] = 0
    s.inh[:] = 0
    s.seen[:] = NEVER
    s.quiet[:] = NEVER
    s.inh_quiet[:] = NEVER
    s.x[:] = 0
    s.x_at[:] = NEVER
    s.y[:] = 0
    s.z[:] = 0
    s.y_at[:] = NEVER
    s.size[:] = 0


def decayed(value: Any, since: int, now: int, table: Any) -> Any:
    """A trace that was ``value`` at step ``since``."""
    k = now - since
    return value * table[k] if k < table.shape[0] else value * np.float32(0)


def decay(s: Any, c: Any) -> None:
    """Decay of the excitatory membranes, and the inhibition by the spikes of the last step."""
    mem, held, inhibiting = s.mem, s.size[0], s.size[1]
    for k in range(held):
        s.kept[k] = mem[s.held[k]]
    loss = c.inhibition * np.float32(inhibiting)
    for j in range(mem.shape[0]):
        mem[j] = mem[j] * c.exc_decay - loss
    for k in range(inhibiting):
        mem[s.inhibitors[k]] += c.inhibition
    s.size[1] = 0


def hold(s: Any, c: Any, t: int) -> None:
    """Take back from the refractory neurons what is not decay, and release those whose silence
    ends."""
    n = 0
    for k in range(s.size[0]):
        j = s.held[k]
        s.mem[j] = s.kept[k] * c.exc_decay
        if s.quiet[j] > t:
            s.held[n] = j
            n += 1
    s.size[0] = n


def drive(net: Any, s: Any, c: Any, ev: Any, t: int) -> None:
    """One step of the excitatory membranes under the input spikes of that step."""
    decay(s, c)
    mem = s.mem
    for e in range(ev.start[t], ev.start[t + 1]):
        row = net.w[ev.sorted[e]]
        for j in range(mem.shape[0]):
            mem[j] += c.gain * row[j]
    hold(s, c, t)


def crossers(net: Any, s: Any, c: Any, level: Any, t: int) -> int:
    """List who fires in this step, all or the one furthest above its threshold; returns their
    number."""
    mem, theta, n = s.mem, net.theta, 0
    for j in range(mem.shape[0]):
        n += mem[j] > c.threshold + theta[j] * level
    if n == 0:
        return 0
    n, best = 0, np.float32(0)
    for j in range(mem.shape[0]):
        over = mem[j] - c.threshold - theta[j] * level
        if over <= 0 or t <= s.quiet[j]:
            continue
        if c.one_winner and n:
            if over > best:
                s.fired[0], best = j, over
            continue
        s.fired[n], best = j, over
        n += 1
    return n


def spike(net: Any, s: Any, c: Any, level: Any, fired: int, learn: bool, t: int) -> None:
    """Reset who fired, raise thresholds, and let the partners among the inhibitory neurons
    answer."""
    answering = 0
    for k in range(fired):
        j = s.fired[k]
        s.mem[j] = c.exc_reset
        s.count[j] += 1
        if c.exc_refractory > 0:
            s.quiet[j] = t + c.exc_refractory
            s.held[s.size[0]] = j
            s.size[0] += 1
        if learn:
            net.theta[j] += c.theta_plus / level
        past = decayed(s.inh[j], s.seen[j], t, c.inh_table)
        s.inh[j], s.seen[j] = past, t
        if t > s.inh_quiet[j]:
            s.inh[j] = past + c.excitation
            if s.inh[j] > c.inh_threshold:
                s.inh[j] = c.inh_reset
                s.inh_quiet[j] = t + c.inh_refractory
                s.inhibitors[answering] = j
                answering += 1
    s.size[1] = answering


def pre_traces(s: Any, rule: Any, ev: Any, t: int) -> None:
    """Traces of the inputs that spike now."""
    for e in range(ev.start[t], ev.start[t + 1]):
        i = ev.sorted[e]
        old = decayed(s.x[i], s.x_at[i], t, rule.x_table) if rule.additive else np.float32(0)
        s.x[i], s.x_at[i] = old + np.float32(1), t


def post_traces(s: Any, rule: Any, fired: int, t: int) -> None:
    """Traces of the neurons that spike now, which become learners; ``before`` is the slow trace as
    it was."""
    for k in range(fired):
        j = s.fired[k]
        y, z = (
            decayed(s.y[j], s.y_at[j], t, rule.y_table),
            decayed(s.z[j], s.y_at[j], t, rule.z_table),
        )
        if s.y_at[j] == NEVER:
            s.learners[s.size[2]] = j
            s.size[2] += 1
        s.before[k] = z
        s.y[j] = y + np.float32(1) if rule.additive else np.float32(1)
        s.z[j] = z + np.float32(1) if rule.additive else np.float32(1)
        s.y_at[j] = t


def potentiate(net: Any, s: Any, rule: Any, fired: int, t: int) -> None:
    """Change all weights of the neurons that spike now."""
    w, one = net.w, np.float32(1)
    for k in range(fired):
        j = s.fired[k]
        y = s.y[j]
        factor = s.before[k] if rule.triplet else one
        for i in range(w.shape[0]):
            x, old = decayed(s.x[i], s.x_at[i], t, rule.x_table), w[i, j]
            if rule.exponential:
                gain = x * np.float32(exp(-rule.beta * old))
                gain -= rule.x_tar * np.float32(exp(-rule.beta * (rule.w_max - old)))
            else:
                gain = (x - rule.x_tar) * factor
                if rule.mu_post == one:
                    gain *= max(rule.w_max - old, np.float32(0))
                elif rule.mu_post != np.float32(0):
                    gain *= max(rule.w_max - old, np.float32(0)) ** rule.mu_post
            new = old + rule.nu_post * gain
            if s.x_at[i] == t:
                new -= depression(old, y, rule)
            w[i, j] = min(max(new, rule.w_min), rule.w_max)


def depression(old: Any, y: Any, rule: Any) -> Any:
    """What a spike of the input takes from a weight."""
    soft = np.float32(1)
    if rule.mu_pre != np.float32(0):
        soft = max(old - rule.w_min, np.float32(0)) ** rule.mu_pre
    return rule.nu_pre * y * soft


def depress(net: Any, s: Any, rule: Any, ev: Any, t: int) -> None:
    """Change the weights between the inputs that spike now and the neurons that have spiked
    before."""
    for k in range(s.size[2]):
        j = s.learners[k]
        if s.y_at[j] == t:
            continue  # done with the potentiation
        y = decayed(s.y[j], s.y_at[j], t, rule.y_table)
        for e in range(ev.start[t], ev.start[t + 1]):
            i = ev.sorted[e]
            old = net.w[i, j]
            net.w[i, j] = min(max(old - depression(old, y, rule), rule.w_min), rule.w_max)


def present(net: Any, s: Any, c: Any, rule: Any, ev: Any, steps: int, learn: bool) -> int:
    """Show the spikes of ``ev`` from the state in ``s``; returns the number of excitatory
    spikes."""
    level, total = np.float32(1), 0
    for t in range(steps):
        drive(net, s, c, ev, t)
        if learn:
            level = c.levels[t]
            pre_traces(s, rule, ev, t)
        fired = crossers(net, s, c, level, t)
        if fired:
            total += fired
            spike(net, s, c, level, fired, learn, t)
        if learn:
            if fired:
                post_traces(s, rule, fired, t)
                potentiate(net, s, rule, fired, t)
            if rule.nu_pre != 0 and s.size[2]:
                depress(net, s, rule, ev, t)
    if learn:
        for j in range(net.theta.shape[0]):
            net.theta[j] *= level
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
    net: Any, s: Any, c: Any, rule: Any, ev: Any, images: Any, seeds: Any, counts: Any, learn: bool
) -> int:
    """Show images one after the other, each again and brighter while it is answered by too few
    spikes."""
    shown = 0
    for n in range(images.shape[0]):
        for again in range(c.retries + 1):
            draw(images[n], c.rate + again * c.boost, c.steps, seeds[n : n + 1], ev)
            rest(s)
            s.count[:] = 0
            total = present(net, s, c, rule, ev, c.steps, learn)
            shown += 1
            if learn:
                for k in range(s.size[2]):
                    normalize(net.w, s.learners[k], c.norm)
                for j in range(net.theta.shape[0]):
                    net.theta[j] *= c.theta_rest
            if total >= c.min_spikes:
                break
        counts[n] = s.count
    return shown
