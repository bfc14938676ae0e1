"""The loops of the batched engine, which numba compiles together with those of `event_loop`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .event_loop import crossers, draw, drive, fire, inhibit, raised, settle


def batch(
    net: Any, s: Any, c: Any, f: Any, current: Any, train: Any, done: int, learn: bool
) -> None:
    """Steps of a whole batch from its input drive [T, B * N]; spikes enter ``train``, [T, B * N].

    The thresholds of ``net`` are those of all samples, and rise when all have made their step.
    """
    x, exc, over, theta, levels, fired = s.x, s.exc, s.over, net.theta, c.levels, s.fired
    row, k, one_winner, rise = exc[c.theta_row], c.exc, c.one_winner, c.theta_plus
    inhibition, samples, neurons, level = (
        c.inhibition,
        s.size.shape[0],
        theta.shape[0],
        np.float32(1),
    )
    answers = s.size.sum()
    for t in range(current.shape[0]):
        x[:] = current[t]
        if answers:
            inhibit(x, s, inhibition)
        if learn:
            level = levels[done + t]
        raised(theta, level, row)
        f.exc_excess(x, exc, over, k)
        found = crossers(over, fired, samples, one_winner)
        if found:
            fire(s, c, f, found)
        f.exc_rests(x, exc, 1, k)
        answers = settle(s, c, f, found, done + t) if found else 0
        for n in range(found):
            train[t, fired[n]] = 1
            if learn:
                theta[fired[n] % neurons] += rise / level


def write(images: Any, seeds: Any, per_step: float, steps: int, ev: Any, spikes: Any) -> None:
    """Draw the spikes of a batch and write them into ``spikes``, [T, B, inputs], zeros before."""
    for b in range(images.shape[0]):
        draw(images[b], per_step, steps, seeds[b : b + 1], ev)
        for t in range(steps):
            for e in range(ev.start[t], ev.start[t + 1]):
                spikes[t, b, ev.sorted[e]] = 1


def product(spikes: Any, w: Any, gain: Any, out: Any) -> None:
    """``gain * spikes @ w`` of sparse rows [R, inputs], into ``out``, [R, N]."""
    lit = np.zeros(spikes.shape[1], np.int32)
    for r in range(spikes.shape[0]):
        n = 0
        for i in range(spikes.shape[1]):  # without a branch, which the processor would mispredict
            lit[n] = i
            n += spikes[r, i] != 0
        drive(w, gain, lit[:n], out[r])
