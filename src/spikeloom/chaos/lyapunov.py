r"""The largest Lyapunov exponent of a map, by twin trajectories.

Two copies start ``eps`` apart and take the same steps; after each step, their difference is
measured and rescaled to ``eps``.

.. math:: \lambda = \frac{1}{n} \sum_i \ln \frac{d_i}{\epsilon}

A positive exponent is chaos: differences grow by e^lambda per step. The exponent of a system with
jumps (spikes) depends on eps, so that several are reported.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core import checks
from ..core.numbers import callable_, numbers_of
from ..core.numbers import whole as whole_number
from .exponents import Exponents, estimate, sizes, whole

__all__ = ["analytic", "lyapunov"]

ROUNDING = 1e-16  # float64, relative


def lyapunov(
    step: Callable[..., Tensor],
    start: Tensor,
    *,
    steps: int = 1000,
    burn_in: int = 100,
    eps: float | Sequence[float] = 1e-8,
    counted: bool = False,
    seed: int = 0,
) -> Exponents:
    """Largest Lyapunov exponent of a map, in float64.

    Args:
        step: the map, [N, ...] to [N, ...], row by row; twins are further rows. With
            ``counted=True`` it also receives the index of the step, from 0 with ``burn_in``
            included, so that a strength may be annealed.
        start: N independent starts, [N, ...]; or one number.
        steps: steps over which the exponent is averaged.
        burn_in: steps before them.
        eps: size of the difference, or several; each adds one row per start.
        counted: whether ``step`` receives the index of the step.
        seed: seed of the directions of the differences.

    Returns:
        `Exponents`; ``local`` holds the rate at each step.

    Raises:
        ValueError: a number is out of range, or the map changes the shape of its argument.

    >>> logistic = lambda x: 4 * x * (1 - x)
    >>> found = lyapunov(logistic, torch.linspace(0.1, 0.4, 50), steps=2000)
    >>> abs(found.value - 0.6931) < 1e-3, found.chaotic
    (True, True)
    """
    whole("steps", steps)
    whole("burn_in", burn_in, 0)
    scales = sizes(eps)
    callable_("step", step, "lambda x: 4 * x * (1 - x)")
    seed = whole_number("seed", seed)
    x = numbers_of("start", start)
    x = x.reshape(1) if x.dim() == 0 else x
    checks.finite(x, "start")

    def move(values: Tensor, n: int) -> Tensor:
        new = step(values, n) if counted else step(values)
        if new.shape != values.shape:
            came = f"{tuple(new.shape)} from {tuple(values.shape)}"
            raise ValueError(
                f"step must keep the shape of its argument, got {came}; write one row for each "
                "start"
            )
        return new.detach()

    for n in range(burn_in):
        x = move(x, n)
    directions = torch.Generator().manual_seed(seed)
    eps_ = torch.tensor(scales, dtype=torch.double).reshape(-1, *[1] * x.dim())  # [E, 1, ...]
    twins = x + eps_ * _unit(x.expand(len(scales), *x.shape), directions)
    rates = torch.empty(steps, len(scales), len(x), dtype=torch.double)
    for n in range(burn_in, burn_in + steps):
        new = move(torch.cat([x[None], twins]).flatten(0, 1), n).reshape(len(scales) + 1, *x.shape)
        x = new[0]
        difference = new[1:] - x
        length = _length(difference)
        rates[n - burn_in], difference = _rescaled(difference, length, eps_, x, directions)
        twins = x + difference
    return Exponents(tuple(estimate(rates[:, i], value) for i, value in enumerate(scales)))


def _length(difference: Tensor) -> Tensor:
    """Euclidean length of each row of each size, [E, N, 1, ...]."""
    flat = difference.flatten(2).norm(dim=2) if difference.dim() > 2 else difference.abs()
    return flat.reshape(*flat.shape, *[1] * (difference.dim() - 2))


def _unit(like: Tensor, generator: torch.Generator) -> Tensor:
    """Random directions, [E, N, ...]."""
    direction = torch.randn(like.shape, generator=generator, dtype=torch.double)
    return direction / _length(direction)


def _rescaled(
    difference: Tensor, length: Tensor, eps: Tensor, x: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The rates of a step, and the rescaled differences; a vanished one gets a new direction."""
    floor = floor_of(x)
    gone = length < floor
    rates = (length.clamp(min=floor) / eps).log().reshape(length.shape[:2])
    if bool(gone.any()):
        difference = torch.where(gone, _unit(difference, generator), difference)
        length = torch.where(gone, torch.ones_like(length), length)
    return rates, difference * (eps / length)


def floor_of(x: Tensor) -> float:
    """The smallest difference that float64 resolves at the magnitude of ``x``."""
    return ROUNDING * max(float(x.abs().max()), 1e-300)


def analytic(slopes: Any) -> float:
    """Mean of ``ln |slope|`` along an orbit: the exponent of a scalar map with known derivative.

    Args:
        slopes: derivatives at the points of the orbit, [steps].

    >>> round(analytic(torch.tensor([2.0, 0.5])), 6)
    0.0
    """
    return float(torch.as_tensor(slopes).double().abs().clamp(min=1e-300).log().mean())
