"""The arrays and numbers that the loops of the event-driven engine work on, by name."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Coefficients", "Events", "Learned", "Numbers", "Work"]

f32 = np.float32


class Numbers(NamedTuple):
    """Constants of the network, for one step."""

    exc_decay: Any
    gain: Any
    inhibition: Any
    threshold: Any
    one_winner: bool
    exc_reset: Any
    exc_refractory: int
    theta_plus: Any
    theta_rest: Any
    levels: Any
    inh_table: Any
    excitation: Any
    inh_threshold: Any
    inh_reset: Any
    inh_refractory: int
    rate: float
    boost: float
    steps: int
    retries: int
    min_spikes: int
    norm: Any


class Coefficients(NamedTuple):
    """A learning rule as numbers: the four rules are special cases of two formulas."""

    x_table: Any
    y_table: Any
    z_table: Any
    additive: bool
    w_min: Any
    w_max: Any
    triplet: bool = False
    exponential: bool = False
    x_tar: Any = f32(0)
    nu_post: Any = f32(0)
    nu_pre: Any = f32(0)
    mu_post: Any = f32(0)
    mu_pre: Any = f32(0)
    beta: Any = f32(0)


class Learned(NamedTuple):
    """What lasts."""

    w: Any  # [inputs, N]
    theta: Any  # [N]


class Work(NamedTuple):
    """State of a presentation."""

    mem: Any
    inh: Any
    seen: Any
    quiet: Any
    inh_quiet: Any
    x: Any
    x_at: Any
    y: Any
    z: Any
    y_at: Any
    size: Any  # numbers of entries of: held, inhibitors, learners
    held: Any
    kept: Any
    fired: Any
    inhibitors: Any
    learners: Any
    before: Any
    count: Any


class Events(NamedTuple):
    """Input spikes sorted by time, and what sorting needs."""

    start: Any  # [T + 1] where each step begins
    sorted: Any  # inputs that spike
    place: Any
    when: Any
    which: Any
