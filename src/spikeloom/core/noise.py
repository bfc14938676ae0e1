"""Noise of a neuron: in its current, in its threshold, and as an escape rate.

All three are drawn anew at every step, outside of the equations. Noise of the current is added to
the input. Noise of the threshold and an escape rate are one thing: a threshold that is shifted by a
random number. A neuron with a shift remembers two more values, `Shifted`: whether it fired, because
a reset one step later cannot read that from the membrane, and the shift of the step.
"""

from collections import namedtuple
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .numbers import flag, random_source, real

__all__ = ["SHIFTED", "Noise", "extended"]

SHIFTED = ("fired", "shift")  # what a neuron with a random threshold adds to its state


@dataclass(frozen=True)
class Noise:
    r"""What is random in a neuron; `noisy` sets it.

    .. math::
        I[t] + \sigma_I \xi[t] \qquad
        S[t] = H(U[t] - \theta - \sigma_\theta \eta[t] - \Delta \ln E[t])

    with standard normal :math:`\xi, \eta` and E exponentially distributed with mean 1, all of them
    independent for each neuron, sample and step.

    Args:
        current: standard deviation of what is added to the input, in its unit, >= 0.
        threshold: standard deviation of the threshold, in its unit, >= 0.
        escape: width Delta of the escape rate, in the unit of the threshold, >= 0; 0: none.
        generator: source of randomness; None is torch's global one.
        training_only: without effect after ``net.eval()``.

    >>> Noise(current=0.1).shifts, Noise(escape=0.1).shifts
    (False, True)
    """

    current: float = 0.0
    threshold: float = 0.0
    escape: float = 0.0
    generator: torch.Generator | None = None
    training_only: bool = False

    def __post_init__(self) -> None:
        for name in ("current", "threshold", "escape"):
            object.__setattr__(self, name, real(name, getattr(self, name), 0.0))
        random_source(self.generator)
        flag("training_only", self.training_only)

    @property
    def shifts(self) -> bool:
        """Whether the threshold is random."""
        return self.threshold > 0 or self.escape > 0

    def added(self, x: Tensor) -> Tensor:
        """``x``, the input of one step, with the noise of the current."""
        if not self.current:
            return x
        return x + self.current * self._normal(x, x.shape)

    def added_over_time(self, x: Tensor, num_steps: int | None) -> Tensor:
        """The input over time, [T, B, ...], with the numbers that single steps would draw."""
        if not self.current:
            return x
        steps = x.unbind(0) if num_steps is None else [x] * num_steps
        return torch.stack([self.added(x_t) for x_t in steps])

    def shift(self, like: Tensor) -> Tensor:
        """What is added to the threshold of one step, in the shape of ``like``, [B, ...]."""
        found = torch.zeros_like(like)
        if self.threshold:
            found = found + self.threshold * self._normal(like, like.shape)
        if self.escape:
            waiting = torch.empty_like(like).exponential_(generator=self._source(like))
            tiny = torch.finfo(like.dtype).tiny
            found = found + self.escape * waiting.clamp(min=tiny).log()
        return found

    def _normal(self, like: Tensor, shape: torch.Size) -> Tensor:
        source = self._source(like)
        return torch.randn(shape, dtype=like.dtype, device=like.device, generator=source)

    def _source(self, like: Tensor) -> torch.Generator | None:
        return random_source(self.generator, like)


@cache
def extended(kind: Any, names: tuple[str, ...]) -> Any:
    """The type of a state with more fields than its class declares; its values can be pickled.

    >>> State = namedtuple("State", ["mem"])
    >>> extended(State, SHIFTED)(0.5, 1.0, 0.1)
    State(mem=0.5, fired=1.0, shift=0.1)
    """
    base, first = getattr(kind, "_extends", (kind, ()))
    if first:
        return extended(base, first + names)
    made: Any = namedtuple(kind.__name__, (*kind._fields, *names))
    made._extends = (kind, names)
    made.__reduce__ = lambda self: (_restored, (kind, names, tuple(self)))
    return made


def _restored(kind: Any, names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return extended(kind, names)(*values)
