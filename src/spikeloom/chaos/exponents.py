"""Lyapunov exponents with confidence intervals, the result of all instruments."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core import checks
from ..core.numbers import real
from ..core.numbers import whole as whole_number

__all__ = ["Exponent", "Exponents", "estimate"]

MOST_STEPS = 2**30

RESAMPLES = 1000


@dataclass(frozen=True)
class Exponent:
    """A largest Lyapunov exponent, in nats per step.

    Attributes:
        value: mean rate at which a small difference grows.
        low: lower end of its 95 % confidence interval.
        high: upper end.
        eps: size of the difference.
        local: the rate at each step, [steps] (mean over the starts).

    >>> str(Exponent(0.34, 0.3, 0.38, 1e-8, torch.zeros(3)))
    'eps 1e-08: +0.3400 (95 % interval +0.3000 to +0.3800)'
    """

    value: float
    low: float
    high: float
    eps: float
    local: Tensor = field(repr=False, compare=False)

    def __str__(self) -> str:
        return (
            f"eps {self.eps:g}: {self.value:+.4f} (95 % interval {self.low:+.4f} to "
            f"{self.high:+.4f})"
        )

    def between(self, start: int, stop: int | None = None) -> float:
        """Mean rate over the steps from ``start`` to ``stop``.

        Args:
            start: first step; negative ones count from the end.
            stop: one past the last step; None: to the end.
        """
        return float(self.local[start:stop].mean())


@dataclass(frozen=True)
class Exponents:
    """Exponents for differences of several sizes, with an optional control.

    Attributes:
        by_eps: one for each size, in the order of the argument.
        control: the same without chaotic loss, on the same data order; empty without control.

    >>> one = Exponent(0.3, 0.2, 0.4, 1e-8, torch.zeros(3))
    >>> Exponents((one,)).chaotic
    True
    """

    by_eps: tuple[Exponent, ...]
    control: tuple[Exponent, ...] = ()

    @property
    def value(self) -> float:
        """The exponent of the first size."""
        return self.by_eps[0].value

    @property
    def low(self) -> float:
        """Lower end of its 95 % confidence interval."""
        return self.by_eps[0].low

    @property
    def high(self) -> float:
        """Upper end of its 95 % confidence interval."""
        return self.by_eps[0].high

    @property
    def chaotic(self) -> bool:
        """Whether the confidence interval is above 0, and above that of the control, if any."""
        return self.low > 0 and all(self.low > c.high for c in self.control[:1])

    def __str__(self) -> str:
        lines = [str(e) for e in self.by_eps] + [f"control, {e}" for e in self.control]
        return "\n".join(lines)


def estimate(rates: Tensor, eps: float, *, block: int | None = None, seed: int = 0) -> Exponent:
    """Mean and confidence interval of local rates by a block bootstrap.

    Blocks are needed because neighbouring steps are not independent.

    Args:
        rates: growth per step, [steps] or [steps, starts].
        eps: size of the difference, copied to the result.
        block: steps per block. Default: the square root of the number of steps.
        seed: seed of the resampling.
    """
    rates = rates.double().reshape(len(rates), -1)
    steps, starts = rates.shape
    block = block or max(1, math.isqrt(steps))
    number = max(1, steps // block)
    means = rates[: number * block].reshape(number, block, starts).mean(1).flatten()
    generator = torch.Generator().manual_seed(whole_number("seed", seed))
    value = float(rates.mean())
    if not math.isfinite(value):
        return Exponent(value, value, value, eps, rates.mean(1))
    drawn = torch.randint(len(means), (RESAMPLES, len(means)), generator=generator)
    low, high = torch.quantile(
        means[drawn].mean(1), torch.tensor([0.025, 0.975], dtype=torch.double)
    ).tolist()
    return Exponent(value, min(low, value), max(high, value), eps, rates.mean(1))


def sizes(eps: float | Sequence[float]) -> tuple[float, ...]:
    """Checks the sizes of differences, and returns them as a tuple.

    Raises:
        ValueError: there is none, or one is not positive.
    """
    if not isinstance(eps, (int, float, list, tuple)):
        raise TypeError(f"eps must be a size or several, got {eps!r}; write eps=1e-8")
    given = eps if isinstance(eps, (list, tuple)) else (eps,)
    found = tuple(real("eps", size, example=1e-8) for size in given)
    if not found:
        raise ValueError("eps must be a size or several, got none; write eps=1e-8")
    for value in found:
        checks.in_range("eps", value, 0.0, math.inf, open_low=True)
    return found


def whole(name: str, value: int, low: int = 1) -> None:
    """Checks a number of steps."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MOST_STEPS:
        raise ValueError(
            f"{name} must be a whole number from {low} to {MOST_STEPS}, got {value!r}; write "
            f"{name}={max(low, 100)}"
        )
