"""Annealing schedules of the strength of the chaotic loss, by step or by epoch.

A schedule is a frozen value whose ``factor(n, start)`` is the factor of the strength ``start``
after ``n`` steps or epochs. A strength is in its own unit: intensity z, or dimensionless A.
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
    """Base of the schedules; on its own, a constant strength.

    >>> Anneal().factor(1000, 3.8)
    1.0
    """

    per: Per = "step"

    def __post_init__(self) -> None:
        checks.choice("per", self.per, ("step", "epoch"))

    def factor(self, n: int, start: float) -> float:
        """The factor after ``n`` steps or epochs, for the initial strength ``start``."""
        return 1.0


@dataclass(frozen=True)
class Exponential(Anneal):
    """Exponential annealing ``beta^n``, as in the authors' code.

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
            "beta", self.beta, 0.0, 1.0, open_low=True, why="it is the factor of one step"
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
    """Exponential annealing down to the strength ``end``, below which the chaotic loss is off.

    Args:
        end: the last strength, in the unit of the strength: ``Until(2.0, 0.98)`` with ``A(3.8)``
            ends where the oscillation ends.
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
            why="the strength must reach the end",
        )

    def factor(self, n: int, start: float) -> float:
        factor = self.beta**n
        return factor if start * factor >= self.end else 0.0


@dataclass(frozen=True)
class Function(Anneal):
    """A schedule of your own: any function of the number of steps or epochs.

    Args:
        function: maps n to a factor, >= 0.
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
    """Converts an argument to a schedule: None is a constant, a function counts steps.

    Raises:
        TypeError: ``anneal`` has another type.
    """
    if anneal is None:
        return Anneal()
    if isinstance(anneal, Anneal):
        return anneal
    if callable(anneal):
        return Function(anneal)
    raise TypeError(
        f"anneal must be a schedule or a function of the step, got {anneal!r}; write "
        "chaos.Exponential(0.98, per='epoch')"
    )
