"""Annealing: how the strength of the chaotic loss falls, by step or by epoch.

A schedule is a frozen value with ``factor(n, start)``: what the strength ``start`` is multiplied by
after ``n`` steps or epochs. Strengths are in the unit in which they were given: intensity z, or
dimensionless A.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..core import checks

__all__ = ["Anneal", "Cosine", "Exponential", "Function", "Until", "schedule"]

Per = Literal["step", "epoch"]


@dataclass(frozen=True, kw_only=True)
class Anneal:
    """Base of the schedules; by itself it keeps the strength.

    >>> Anneal().factor(1000, 3.8)
    1.0
    """

    per: Per = "step"

    def __post_init__(self) -> None:
        checks.choice("per", self.per, ("step", "epoch"))

    def factor(self, n: int, start: float) -> float:
        """The factor after ``n`` steps or epochs of a strength that began as ``start``."""
        return 1.0


@dataclass(frozen=True)
class Exponential(Anneal):
    """Exponential annealing, the authors' own: ``beta^n``.

    Args:
        beta: factor of one step or epoch, in (0, 1].
        per: ``"step"`` (default) or ``"epoch"``.

    Raises:
        ValueError: ``beta`` outside (0, 1].

    >>> Exponential(0.98, per="epoch").factor(35, 15.0)
    0.4930...
    """

    beta: float

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.in_range(
            "beta",
            self.beta,
            0.0,
            1.0,
            open_low=True,
            why="it is what one step leaves of the strength",
        )

    def factor(self, n: int, start: float) -> float:
        return self.beta**n


@dataclass(frozen=True)
class Cosine(Anneal):
    """Half a cosine from 1 to 0 in ``length`` steps or epochs; 0 afterwards.

    Args:
        length: steps or epochs, > 0.
        per: ``"step"`` (default) or ``"epoch"``.

    Raises:
        ValueError: ``length`` is not positive.

    >>> [round(Cosine(10).factor(n, 1.0), 2) for n in (0, 5, 10, 11)]
    [1.0, 0.5, 0.0, 0.0]
    """

    length: int

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.in_range("length", self.length, 0.0, math.inf, open_low=True)

    def factor(self, n: int, start: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * n / self.length)) if n < self.length else 0.0


@dataclass(frozen=True)
class Until(Anneal):
    """Exponential annealing down to the strength ``end``; below it the chaotic loss is switched
    off.

    Args:
        end: the strength at which it ends, in the unit of the strength: ``Until(2.0, 0.98)`` with
            ``A(3.8)`` ends where the oscillation ends.
        beta: factor of one step or epoch, in (0, 1).
        per: ``"step"`` (default) or ``"epoch"``.

    Raises:
        ValueError: ``end`` is not positive or ``beta`` outside (0, 1).

    >>> [round(3.8 * Until(2.0, 0.9).factor(n, 3.8), 2) for n in (0, 6, 7)]
    [3.8, 2.02, 0.0]
    """

    end: float
    beta: float

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.in_range("end", self.end, 0.0, math.inf, open_low=True)
        checks.in_range(
            "beta",
            self.beta,
            0.0,
            1.0,
            open_low=True,
            open_high=True,
            why="the end must be reached",
        )

    def factor(self, n: int, start: float) -> float:
        factor = self.beta**n
        return factor if start * factor >= self.end else 0.0


@dataclass(frozen=True)
class Function(Anneal):
    """A schedule of your own: any function of the number of steps or epochs.

    Args:
        function: n to a factor, >= 0.
        per: ``"step"`` (default) or ``"epoch"``.

    Raises:
        TypeError: ``function`` is not callable.

    >>> Function(lambda n: 1.0 if n < 5 else 0.0, per="epoch").factor(5, 3.8)
    0.0
    """

    function: Callable[[int], float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function):
            raise TypeError(
                f"function must map the number of steps to a factor, got {self.function!r}"
            )

    def factor(self, n: int, start: float) -> float:
        return float(self.function(n))


def schedule(anneal: Anneal | Callable[[int], float] | None) -> Anneal:
    """The schedule that a user meant: one as it is, None for a constant strength, a function per
    step.

    Raises:
        TypeError: something else.
    """
    if anneal is None or isinstance(anneal, Anneal):
        return Anneal() if anneal is None else anneal
    if callable(anneal):
        return Function(anneal)
    raise TypeError(
        f"anneal must be a schedule or a function of the step, got {anneal!r}; write "
        "chaos.Exponential(0.98, per='epoch')"
    )
