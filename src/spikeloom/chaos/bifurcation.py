"""Bifurcation diagrams: the attractors of a map for many strengths at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import checks
from ..core.numbers import callable_, numbers_of, real
from .exponents import whole

__all__ = ["Diagram", "Sweep", "bifurcation"]

LOCAL = 1e-9  # length of the difference between twins
LONGEST = 32  # period


@dataclass(frozen=True)
class Sweep:
    """One direction of a diagram.

    Attributes:
        orbit: observed values of the last steps, [keep, K].
        exponent: largest Lyapunov exponent over these steps, per step, [K].
        period: period of the orbit, [K]; 0 if it is longer than 32 or there is none.

    >>> Sweep(torch.zeros(2, 1), torch.zeros(1), torch.ones(1)).period
    tensor([1.])
    """

    orbit: Tensor
    exponent: Tensor
    period: Tensor


@dataclass(frozen=True)
class Diagram:
    """A bifurcation diagram; `spikeloom.spikeplot.bifurcation` draws it.

    Attributes:
        values: strengths, ascending, [K].
        up: sweep from the lowest to the highest strength, each from the end of its neighbour.
        down: sweep from the highest to the lowest. If the two differ, two attractors coexist.

    >>> still = Sweep(torch.zeros(2, 1), torch.zeros(1), torch.ones(1))
    >>> Diagram(torch.ones(1), still, still).hysteresis
    tensor([False])
    """

    values: Tensor
    up: Sweep
    down: Sweep

    @property
    def hysteresis(self) -> Tensor:
        """Mask of the strengths at which the periods of both directions differ, [K]."""
        return self.up.period != self.down.period


def bifurcation(
    system: Callable[[Tensor, Tensor], Tensor],
    values: Sequence[float] | Tensor,
    start: Sequence[float] | Tensor | float = 0.1,
    *,
    settle: int = 300,
    keep: int = 200,
    follow: int = 1,
    kick: float = 1e-6,
    observe: Callable[[Tensor], Tensor] | None = None,
) -> Diagram:
    """Sweeps a strength up and down, all strengths and both directions as one batch.

    Row k runs ``follow`` steps at each of the strengths 0, 1, ... k, so that it starts on the
    attractor of its neighbour although all rows run in parallel.

    Args:
        system: one step of a map from states [K, ...] and strengths [K] to states [K, ...], row by
            row, in float64; for example `feedback`.
        values: strengths, two or more, all different; sorted ascending.
        start: state at the first strength, a number or [...].
        settle: further steps at each strength before the observation.
        keep: observed steps.
        follow: steps at each strength of the sweep.
        kick: added to the state at each of these steps, because a sweep exactly at a fixed point
            would stay there after the point has become unstable.
        observe: maps states [K, ...] to numbers [K]. Default: the first number of a state.

    Returns:
        A `Diagram`.

    Raises:
        ValueError: values are too few, not different or not finite; or the map does not stay
            finite.

    >>> from spikeloom.chaos import feedback
    >>> found = bifurcation(feedback, [1.9, 2.1, 3.8, 5.0])
    >>> found.up.period.tolist(), (found.up.exponent > 0).tolist()
    ([1, 2, 0, 3], [False, False, True, False])
    """
    whole("settle", settle, 0)
    whole("keep", keep)
    whole("follow", follow)
    values = _strengths(values)
    number = len(values)
    sweeps = torch.stack([values, values.flip(0)])  # [2, K]: up and down, in the order of the sweep
    position = torch.arange(number)
    callable_("system", system, "chaos.feedback")
    kick = real("kick", kick, example=1e-6)
    x = numbers_of("start", start)
    x = x.expand(2 * number, *x.shape).clone()
    for n in range(number):
        now = sweeps[:, position.clamp(max=n)].flatten()
        for _ in range(follow):
            x = system(x, now) + kick
    final = sweeps.flatten()
    for _ in range(settle):
        x = system(x, final)
    orbit, exponent = _observed(system, x, final, keep, observe)
    if not bool(orbit.isfinite().all()):
        raise ValueError("the map must stay finite, got NaN or infinity; choose smaller values")
    period = _periods(orbit)
    up = Sweep(orbit[:, :number], exponent[:number], period[:number])
    down = Sweep(orbit[:, number:].flip(1), exponent[number:].flip(0), period[number:].flip(0))
    return Diagram(values, up, down)


def _strengths(values: Sequence[float] | Tensor) -> Tensor:
    """Checks strengths and sorts them, [K]."""
    values = numbers_of("values", values).flatten().sort().values
    checks.finite(values, "values")
    if len(values) < 2 or bool((values.diff() == 0).any()):
        came = f"{len(values)}, {len(values.unique())} of them different"
        raise ValueError(
            f"values must be two or more different strengths, got {came}; write torch.linspace(1, "
            "5, 500)"
        )
    return values


def _observed(
    system: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    values: Tensor,
    keep: int,
    observe: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """The orbit [keep, K] and the exponent [K], from a twin of each row."""
    twice = torch.cat([values, values])
    shape = (-1, *[1] * (x.dim() - 1))
    difference = torch.full_like(x, LOCAL) / x[0].numel() ** 0.5
    rows = []
    total = torch.zeros_like(values)
    for _ in range(keep):
        x, twin = system(torch.cat([x, x + difference]), twice).chunk(2)
        difference = twin - x
        length = difference.reshape(len(x), -1).norm(dim=1).clamp(min=1e-16)
        total += (length / LOCAL).log()
        difference = difference * (LOCAL / length).reshape(shape)
        gone = difference.reshape(len(x), -1).norm(dim=1) < LOCAL / 2
        difference[gone] = LOCAL / x[0].numel() ** 0.5
        rows.append(observe(x) if observe is not None else x.reshape(len(x), -1)[:, 0])
    return torch.stack(rows), total / keep


def _periods(orbit: Tensor) -> Tensor:
    """Smallest period of each column to 1e-4 of its span; 0 for none."""
    last = orbit[-2 * LONGEST :]
    span = last.max(0).values - last.min(0).values
    period = torch.zeros(orbit.shape[1], dtype=torch.long)
    for n in range(min(LONGEST, len(last) - 1), 0, -1):
        repeats = ((last[n:] - last[:-n]).abs() <= 1e-4 * span + 1e-8).all(0)
        period[repeats] = n
    return period
