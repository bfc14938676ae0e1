"""Quantisation of neuron states to a grid of 2^bits levels.

Pass the result of `state_quant` to a neuron as ``state_quant=``; it is applied to its states after
every step.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.checks import floating
from ..core.numbers import flag, real, tensor, whole

__all__ = ["StateQuant", "StateQuantizer", "state_quant"]

_MULTIPLIERS = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.925, 0.95)  # snnTorch's, for 1 to 8 bits


class StateQuant(torch.autograd.Function):
    """Rounds to the nearest level, ties to the lower one; NaN stays NaN.

    The gradient is straight-through. ``apply(input_, levels)`` takes the levels in ascending order.

    >>> StateQuant.apply(torch.tensor([-3.0, 0.4, 0.5, 0.6]), torch.tensor([0.0, 1.0]))
    tensor([0., 0., 0., 1.])
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(input_: Tensor, levels: Tensor) -> Tensor:
        levels = levels.to(input_)
        nearest = levels[torch.bucketize(input_, (levels[1:] + levels[:-1]) / 2)]
        return torch.where(input_.isnan(), input_, nearest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output, None


@dataclass(frozen=True)
class StateQuantizer:
    """A grid of levels as a function of a state; `state_quant` returns it.

    Equal settings compare equal; it can be hashed, copied and pickled. The arguments are those of
    `state_quant`.

    >>> StateQuantizer(num_bits=1)(torch.tensor([0.2, -0.3]))
    tensor([ 1.2000, -1.0000])
    """

    num_bits: int = 8
    uniform: bool = True
    thr_centered: bool = True
    threshold: float = 1.0
    lower_limit: float = 0.0
    upper_limit: float = 0.2
    multiplier: float | None = None

    def __post_init__(self) -> None:
        whole("num_bits", self.num_bits, 1, 16)
        flag("uniform", self.uniform)
        flag("thr_centered", self.thr_centered)
        for name in ("threshold", "lower_limit", "upper_limit"):
            real(name, getattr(self, name))
        if self.multiplier is not None:
            real("multiplier", self.multiplier, example=0.5)
        low, high = self.span
        if not low < self.centre <= high:
            raise ValueError(
                "threshold must be positive and the limits at least 0, got "
                f"threshold={self.threshold}, lower_limit={self.lower_limit}, "
                f"upper_limit={self.upper_limit}; levels run from {low:g} to {high:g}"
            )
        if self.multiplier is not None and not self.multiplier > 0:
            raise ValueError(
                f"multiplier must be positive, got {self.multiplier}; write multiplier=None for "
                "the default"
            )

    def __call__(self, x: Tensor) -> Tensor:
        if not hasattr(x, "dtype") or isinstance(x, (Tensor, np.ndarray, np.generic)):
            floating(tensor("x", x), "a state")
        return StateQuant.apply(x, self.levels.to(x))

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest level.

        >>> StateQuantizer(threshold=2.0, upper_limit=0.5).span
        (-2.0, 3.0)
        """
        low = -(self.threshold + self.threshold * self.lower_limit)
        return low, self.threshold + self.threshold * self.upper_limit

    @property
    def centre(self) -> float:
        """The point where levels that are not uniform are densest.

        >>> StateQuantizer(thr_centered=False).centre
        0.0
        """
        return self.threshold if self.thr_centered else 0.0

    @cached_property
    def levels(self) -> Tensor:
        """The levels in ascending order, [2^num_bits] in float32.

        >>> StateQuantizer(num_bits=2, upper_limit=0.0).levels
        tensor([-1.0000, -0.3333,  0.3333,  1.0000])
        """
        low, high = self.span
        number = 2**self.num_bits
        if self.uniform:
            return torch.linspace(low, high, number)
        below = math.floor(number * ((self.centre - low) / (high - low)))
        rising = [low + step for step in self._offsets(self.centre - low, below)]
        falling = [high - step for step in self._offsets(high - self.centre, number - below)]
        return torch.tensor(sorted(rising + falling))  # rounding may swap the densest ones

    def _offsets(self, width: float, number: int) -> list[float]:
        """Distances of levels from the end of the grid: geometric spacings that fill ``width``."""
        ratio = self.multiplier or _MULTIPLIERS[min(self.num_bits, 8) - 1]
        sums = list(itertools.accumulate((ratio**j for j in range(number)), initial=0.0))
        return [width * part / sums[-1] for part in sums[:-1]]


def state_quant(
    num_bits: int = 8,
    uniform: bool = True,
    thr_centered: bool = True,
    threshold: float = 1,
    lower_limit: float = 0,
    upper_limit: float = 0.2,
    multiplier: float | None = None,
) -> StateQuantizer:
    """Returns a function that rounds a state to 2^num_bits levels, straight-through.

    Memory does not grow with the number of levels, and the result has the dtype of the state.

    Args:
        num_bits: 1 to 16.
        uniform: whether levels are equally spaced; otherwise they are denser towards the centre.
        thr_centered: whether that centre is the threshold; otherwise it is 0.
        threshold: threshold of the neuron, positive, in the unit of the state.
        lower_limit: the lowest level is ``-threshold * (1 + lower_limit)``.
        upper_limit: the highest level is ``threshold * (1 + upper_limit)``.
        multiplier: ratio of one spacing to the previous one, towards the centre.
            Default: .05, .1, .3, .5, .7, .9, .925, .95 for 1 to 8 bits and more.

    Raises:
        ValueError: an argument out of range.

    >>> q = state_quant(num_bits=2, threshold=1.0)
    >>> q(torch.tensor([-5.0, 0.0, 0.9]))
    tensor([-1.0000, -0.2667,  1.2000])
    """
    threshold = real("threshold", threshold)
    return StateQuantizer(
        num_bits, uniform, thr_centered, threshold, lower_limit, upper_limit, multiplier
    )
