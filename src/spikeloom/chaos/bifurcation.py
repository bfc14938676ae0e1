"""Bifurcation diagrams: where a map ends up, for many strengths at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import checks
from ..core.numbers import callable_, numbers_of, real
from .exponents import whole

__all__ = ["Diagram", "Sweep", "bifurcation"]

LOCAL, LONGEST = 1e-9, 32


@dataclass(frozen=True)
class Sweep:
    """One direction of a diagram.

    Attributes:
        orbit: what was observed at the last steps, [keep, K].
        exponent: largest Lyapunov exponent there, per step, [K].
        period: of the orbit, [K]; 0 where there is none up to 32.

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
        up: swept from the lowest to the highest strength, each starting where its neighbour ended.
        down: from the highest to the lowest. Where the two differ, two attractors coexist.

    >>> still = Sweep(torch.zeros(2, 1), torch.zeros(1), torch.ones(1))
    >>> Diagram(torch.ones(1), still, still).hysteresis
    tensor([False])
    """

    values: Tensor
    up: Sweep
    down: Sweep

    @property
    def hysteresis(self) -> Tensor:
        """Where both directions end on orbits of different periods, [K]."""
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
    """Sweep a strength up and down, all strengths and both directions as one batch.

    While the sweep goes on, strength k waits at strength 0, 1, ... k for ``follow`` steps each, so
    that it starts on the attractor of its neighbour without waiting for it.

    Args:
        system: one step of a map: states [K, ...] and strengths [K] to states [K, ...], row by row,
            in float64; for example `feedback`.
        values: strengths, two or more, all different; sorted ascending.
        start: state at the first strength, a number or [...].
        settle: further steps at each strength before anything is observed.
        keep: observed steps.
        follow: steps at each strength on the way.
        kick: added to the state at each of these steps, because a sweep that rests exactly on a
            point would stay there after it has become unstable.
        observe: states [K, ...] to numbers [K]. Default: the first number of a state.

    Returns:
        A `Diagram`.

    Raises:
        ValueError: values are too few, not different or not finite; or the map leaves the finite
            numbers.

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
    up, down = (slice(None, number), slice(number, None))
    return Diagram(
        values,
        Sweep(orbit[:, up], exponent[up], period[up]),
        Sweep(orbit[:, down].flip(1), exponent[down].flip(0), period[down].flip(0)),
    )


def _strengths(values: Sequence[float] | Tensor) -> Tensor:
    """Sorted and checked, [K]."""
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
    rows, total = [], torch.zeros_like(values)
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
    """Smallest period of each column that its last steps repeat to a ten thousandth of their span;
    0 for none."""
    last = orbit[-2 * LONGEST :]
    span = last.max(0).values - last.min(0).values
    period = torch.zeros(orbit.shape[1], dtype=torch.long)
    for n in range(min(LONGEST, len(last) - 1), 0, -1):
        repeats = ((last[n:] - last[:-n]).abs() <= 1e-4 * span + 1e-8).all(0)
        period[repeats] = n
    return period
