r"""Regimes of the chaotic loss at a strength A: stable, periodic, chaotic or locked.

Along the leading direction of its input, a layer under gradient descent on the chaotic loss alone
is one scalar:

.. math:: u' = u - a (\sigma(u) - I_0) \qquad a = A / (I_0 (1 - I_0))

All regimes are computed from this map, with the momentum of the optimiser and without the gradient
of the task.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.numbers import real

__all__ = ["Descent", "Regime", "descent", "feedback", "flip", "regime"]

CHAOTIC = 5e-3  # nats per step, above the exponent of any periodic orbit of 4000 steps
LOCAL = 1e-9  # length of the difference between twins
SETTLE = 2000  # steps before the observation
KEEP = 4000  # observed steps
LONGEST = 64  # period


class Descent(NamedTuple):
    """The parameters of an optimiser in the theory.

    >>> Descent(momentum=0.9)
    Descent(momentum=0.9, dampening=0.0, nesterov=False)
    """

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False


class Regime(NamedTuple):
    """The behaviour at a strength.

    Attributes:
        name: ``"stable"``, ``"periodic"`` (period 2, 4, 8 ...), ``"chaotic"``, or ``"locked"``
            (periodic in a window, such as that of period 3).
        period: period of the orbit; 0 for none.
        exponent: largest Lyapunov exponent, per step.

    >>> Regime("locked", 3, -0.5).period
    3
    """

    name: str
    period: int
    exponent: float


def feedback(u: Tensor, A: Tensor | float, I0: float = 0.65) -> Tensor:
    """One step of the scalar map, elementwise; a system for `bifurcation`.

    Args:
        u: states, [K] or any shape.
        A: strengths that broadcast against ``u``.
        I0: as for `ChaoticLoss`.

    >>> feedback(torch.tensor([0.0]), 2.0)
    tensor([1.3187])
    """
    checks.floating(u, "u")
    I0 = real("I0", I0, 0.0, 1.0, open_low=True, open_high=True, example=0.65)
    checks.finite(u, "u")
    if isinstance(A, Tensor):
        checks.floating(A, "A")
        checks.finite(A, "A")
        _broadcasting(u, A)
    else:
        A = real("A", A)
    return u - A / (I0 * (1 - I0)) * (torch.sigmoid(u) - I0)


def _broadcasting(u: Tensor, A: Tensor) -> None:
    """Refuses strengths that do not broadcast against states."""
    try:
        torch.broadcast_shapes(u.shape, A.shape)
    except RuntimeError as error:
        raise ValueError(
            f"A must broadcast against u {tuple(u.shape)}, got {tuple(A.shape)}"
        ) from error


def descent(optimizer: Any) -> Descent:
    """The parameters of an optimiser for the theory.

    Raises:
        TypeError: it is not SGD.

    >>> descent(torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)).momentum
    0.9
    """
    if not isinstance(optimizer, torch.optim.SGD):
        raise TypeError(
            "the dimensionless strength A is defined for torch.optim.SGD (with or without "
            f"momentum), got {type(optimizer).__name__}; write strength=chaos.Z(...) and measure "
            "with chaos.lyapunov_of_training, or use SGD"
        )
    group = optimizer.param_groups[0]
    return Descent(group["momentum"], group["dampening"], group["nesterov"])


def flip(how: Descent = Descent()) -> float:  # noqa: B008 (a tuple)
    """The strength A at which the rest point loses its stability by a flip.

    ``2 (1 + m) / (1 - d)`` with momentum m and dampening d; with Nesterov's momentum ``2 (1 + m) /
    (1 + 2 m)``.

    >>> flip(), flip(Descent(momentum=0.9)), flip(Descent(momentum=0.5, nesterov=True))
    (2.0, 3.8, 1.5)
    """
    if how.nesterov:
        return 2 * (1 + how.momentum) / (1 + 2 * how.momentum)
    return 2 * (1 + how.momentum) / (1 - how.dampening)


def regime(A: float, how: Descent = Descent(), I0: float = 0.65) -> Regime:  # noqa: B008 (a tuple)
    """The regime at a strength, by running the scalar map.

    Args:
        A: strength.
        how: optimiser.
        I0: as for `ChaoticLoss`.

    >>> regime(1.9).name, regime(2.1)[:2], regime(3.8).name, regime(5.0)[:2]
    ('stable', ('periodic', 2), 'chaotic', ('locked', 3))
    """
    I0 = real("I0", I0, 0.0, 1.0, open_low=True, open_high=True, example=0.65)
    return _regime(real("A", A), how, I0)


@lru_cache(maxsize=256)
def _regime(A: float, how: Descent, I0: float) -> Regime:
    state = (math.log(I0 / (1 - I0)) + 0.1, 0.0)
    for _ in range(SETTLE):
        state = _step(state, A, how, I0)
    twin = (state[0] + LOCAL, state[1])
    total = 0.0
    orbit = []
    for _ in range(KEEP):
        state = _step(state, A, how, I0)
        twin = _step(twin, A, how, I0)
        du = twin[0] - state[0]
        dv = twin[1] - state[1]
        distance = max(math.hypot(du, dv), 1e-300)
        total += math.log(distance / LOCAL)
        twin = (state[0] + du * LOCAL / distance, state[1] + dv * LOCAL / distance)
        orbit.append(state[0])
    exponent = total / KEEP
    if flip(how) > A:
        return Regime("stable", 1, exponent)
    if exponent > CHAOTIC:
        return Regime("chaotic", 0, exponent)
    period = _period(orbit)
    return Regime("locked" if period & (period - 1) else "periodic", period, exponent)


def _step(state: tuple[float, float], A: float, how: Descent, I0: float) -> tuple[float, float]:
    u, v = state
    p = 1 / (1 + math.exp(-u)) if u > -700 else 0.0
    g = p - I0
    v = how.momentum * v + (1 - how.dampening) * g
    return u - A / (I0 * (1 - I0)) * (g + how.momentum * v if how.nesterov else v), v


def _period(orbit: list[float]) -> int:
    last = orbit[-2 * LONGEST :]
    span = max(last) - min(last)
    for period in range(1, LONGEST + 1):
        if all(abs(a - b) <= 1e-4 * span for a, b in zip(last[period:], last, strict=False)):
            return period
    return 0
