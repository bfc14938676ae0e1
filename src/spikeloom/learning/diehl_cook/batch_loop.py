"""The loops of the batched engine, which numba compiles together with those of `event_loop`.

``all_`` holds the states of all samples, with one more axis in front.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .event_arrays import Work
from .event_loop import crossers, decay, draw, hold, spike


def sample(all_: Any, b: int) -> Any:
    """The state of one sample of a batch, as views."""
    return Work(
        all_.mem[b],
        all_.inh[b],
        all_.seen[b],
        all_.quiet[b],
        all_.inh_quiet[b],
        all_.x[b],
        all_.x_at[b],
        all_.y[b],
        all_.z[b],
        all_.y_at[b],
        all_.size[b],
        all_.held[b],
        all_.kept[b],
        all_.fired[b],
        all_.inhibitors[b],
        all_.learners[b],
        all_.before[b],
        all_.count[b],
    )


def batch(net: Any, all_: Any, c: Any, current: Any, train: Any, done: int, learn: bool) -> None:
    """Steps of a whole batch from its input drive [T, B, N]; spikes enter ``train``, [T, B, N],
    thresholds ``net``.

    The thresholds are those of all samples, and rise when all have made their step.
    """
    for t in range(current.shape[0]):
        now = done + t
        level = c.levels[now] if learn else np.float32(1)
        for b in range(current.shape[1]):
            s = sample(all_, b)
            decay(s, c)
            row = current[t, b]
            for j in range(row.shape[0]):
                s.mem[j] += row[j]
            hold(s, c, now)
            fired = crossers(net, s, c, level, now)
            if fired:
                spike(net, s, c, level, fired, False, now)
                for k in range(fired):
                    train[t, b, s.fired[k]] = 1
        if learn:
            for b in range(current.shape[1]):
                for j in range(current.shape[2]):
                    if train[t, b, j]:
                        net.theta[j] += c.theta_plus / level


def write(images: Any, seeds: Any, per_step: float, steps: int, ev: Any, spikes: Any) -> None:
    """Draw the spikes of a batch and write them into ``spikes``, [T, B, inputs], zeros before."""
    for b in range(images.shape[0]):
        draw(images[b], per_step, steps, seeds[b : b + 1], ev)
        for t in range(steps):
            for e in range(ev.start[t], ev.start[t + 1]):
                spikes[t, b, ev.sorted[e]] = 1


def product(spikes: Any, w: Any, gain: Any, out: Any) -> None:
    """``gain * spikes @ w`` of sparse rows [R, inputs], into ``out``, [R, N], zeros before."""
    for r in range(spikes.shape[0]):
        target = out[r]
        for i in range(spikes.shape[1]):
            if spikes[r, i] != 0:
                row = w[i]
                for j in range(row.shape[0]):
                    target[j] += gain * row[j]
