"""Reset strategies: what a spike does to the state, and when within the step.

A reset wraps the integration. ``s`` is the reset signal, 1 where the membrane of the previous step
exceeded the threshold; it carries no gradient unless the strategy says so. Strategies are frozen
values: hashable, comparable, picklable. A neuron lists its own under snnTorch's names in
``resets``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from . import checks

__all__ = ["Keep", "Reset", "Subtract", "Zero", "ZeroAll", "ZeroBefore", "ZeroBeforeAttached"]


def _less(x: Tensor, s: Tensor, y: Tensor) -> Tensor:
    """``x - s * y``; in one pass where nothing traces it, since the product is exact."""
    return torch.addcmul(x, s, y, value=-1) if checks.direct(x) else x - s * y


@dataclass(frozen=True)
class Reset:
    """Base of the resets: ``clear`` says what happens, ``advance`` when.

    A subclass needs ``clear`` only.

    >>> Subtract() == Subtract()
    True
    """

    # False: there is nothing to clear, and spikes need not be computed for the reset
    acts: ClassVar[bool] = True
    # True: gradients pass through the reset signal, by the surrogate of its spike
    attached: ClassVar[bool] = False

    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        """The state after the reset of the neurons where ``s`` is 1; unchanged where ``s`` is 0."""
        raise NotImplementedError

    def advance(
        self, integrate: Callable[..., Any], x: Tensor, state: Any, s: Tensor, p: Any
    ) -> Any:
        """One integration with the reset in its place: by default afterwards."""
        return self.clear(integrate(x, state, p), s, p)


@dataclass(frozen=True)
class Keep(Reset):
    """No reset: pure integration (``reset_mechanism="none"``)."""

    acts: ClassVar[bool] = False

    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        return state


@dataclass(frozen=True)
class Subtract(Reset):
    """Take the threshold from the membrane (``reset_mechanism="subtract"``)."""

    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        return state._replace(mem=_less(state.mem, s, p.threshold))


@dataclass(frozen=True)
class Zero(Reset):
    """Clear the freshly integrated membrane, the input of this step included."""

    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        return state._replace(mem=_less(state.mem, s, state.mem))


@dataclass(frozen=True)
class ZeroBefore(Zero):
    """Clear the old membrane, then integrate the input of this step."""

    def advance(
        self, integrate: Callable[..., Any], x: Tensor, state: Any, s: Tensor, p: Any
    ) -> Any:
        return integrate(x, self.clear(state, s, p), p)


@dataclass(frozen=True)
class ZeroBeforeAttached(ZeroBefore):
    """`ZeroBefore` with a gradient through it (``reset_mechanism="zero_attached"``, STBP)."""

    attached: ClassVar[bool] = True


@dataclass(frozen=True)
class ZeroAll(Reset):
    """Clear every state variable of the neuron."""

    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        return state._make(_less(value, s, value) for value in state)
