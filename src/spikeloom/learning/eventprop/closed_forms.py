"""A neuron between two events, in closed form: functions for numba (see `compiled`).

Between events ``tau_m dV/dt = -V + I`` and ``tau_s dI/dt = -I``. After a time d, V is ``V
exp(-d/tau_m) + I share(d)``, written so that it stays exact where the two time constants meet.
"""

from __future__ import annotations

from math import exp, expm1, inf, log, log1p, sqrt
from typing import Any

__all__ = ["crossing", "decays", "peak", "share_slopes"]


def decays(d: float, tau_m: float, tau_s: float) -> Any:
    """What is left after a time d: of V, of I, and of I in V (its share)."""
    delta = 1.0 / tau_s - 1.0 / tau_m
    z, em = delta * d, exp(-d / tau_m)
    if abs(z) > 1.0:
        es = exp(-d / tau_s)
        return em, es, (em - es) / (delta * tau_m)
    lost = expm1(-z)
    return em, em * (1.0 + lost), em * (d if delta == 0.0 else -lost / delta) / tau_m


def share_slopes(d: float, tau_m: float, tau_s: float) -> Any:
    """Derivatives of the share with respect to tau_m and tau_s."""
    delta = 1.0 / tau_s - 1.0 / tau_m
    z = delta * d
    em, es, share = decays(d, tau_m, tau_s)
    if abs(z) < 1e-3:  # where the quotient below cancels
        turn = em * d * d * (-0.5 + z / 3.0 - z * z / 8.0 + z * z * z / 30.0)
    else:
        turn = (d * es - share * tau_m) / delta
    by_m = share * (d / tau_m - 1.0) / tau_m + turn / (tau_m * tau_m * tau_m)
    return by_m, -turn / (tau_m * tau_s * tau_s)


def peak(v: float, i: float, tau_m: float, tau_s: float) -> float:
    """When the membrane is highest, for a current i > v, i > 0; infinity if it only rises."""
    delta = 1.0 / tau_s - 1.0 / tau_m
    x = tau_s * (i - v) / i
    if delta == 0.0:
        return x
    return inf if delta * x >= 1.0 else -log1p(-delta * x) / delta


def crossing(v: float, i: float, tau_m: float, tau_s: float, theta: float, d: float) -> float:
    """First time in [0, d] at which the membrane reaches theta from below; -1 if none.

    It can rise through theta only while the current exceeds theta, and has one maximum, up to which
    it is concave. The root is followed by parabolas through value, slope and curvature, whose error
    goes down with its third power.
    """
    if v >= theta:
        return 0.0
    if i <= theta:
        return -1.0
    end = min(peak(v, i, tau_m, tau_s), d)
    em, es, share = decays(end, tau_m, tau_s)
    top = v * em + i * share
    if top < theta:
        return -1.0
    if abs(tau_m - 2.0 * tau_s) <= 1e-12 * tau_m:  # a quadratic equation for exp(-s / tau_m)
        half = 0.5 * (v + i)
        return min(
            max(-tau_m * log((half + sqrt(max(half * half - i * theta, 0.0))) / i), 0.0), end
        )
    s, now, current, low, high = 0.0, v, i, 0.0, end
    for n in range(100):
        slope = (current - now) / tau_m
        gap = theta - now
        step = parabola(gap, slope, -(current / tau_s + slope) / tau_m)
        if n == 0 and step == inf:
            step = end * gap / (top - v)  # the chord
        if gap > 0.0:
            low = s
        else:
            high = s
        before, s = s, s + step
        if s < low or s > high:  # where one time constant is far below the other
            s = 0.5 * (low + high)
        if abs(s - before) <= 1e-6 * min(tau_m, tau_s):  # what is left is the cube of that
            break
        em, es, share = decays(s, tau_m, tau_s)
        now, current = v * em + i * share, i * es
    return s


def parabola(gap: float, slope: float, bend: float) -> float:
    """How far a parabola of this slope and curvature goes to rise by ``gap``; infinity if never."""
    square = slope * slope + 2.0 * bend * gap
    return 2.0 * gap / (slope + sqrt(square)) if square >= 0.0 and slope > 0.0 else inf
