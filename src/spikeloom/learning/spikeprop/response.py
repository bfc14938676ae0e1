"""Response kernels: what one input spike adds to a membrane, and its slope.

A kernel is a frozen value with ``tau``, its unit of time, ``value(s)`` and ``slope(s)`` of the time
s since the spike arrived; both are 0 for s <= 0.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core import checks

__all__ = ["AlphaResponse", "DoubleExponential", "Response"]


@dataclass(frozen=True)
class Response:
    """Base of the kernels; one of your own needs ``tau``, ``value`` and ``slope``.

    >>> isinstance(AlphaResponse(7.0), Response)
    True
    """

    tau: float

    def value(self, s: Tensor) -> Tensor:
        """What is added to the membrane at a time s after the arrival."""
        raise NotImplementedError

    def slope(self, s: Tensor) -> Tensor:
        """The derivative of `value`."""
        raise NotImplementedError

    def both(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """`value` and `slope`; worth writing where they share an exponential."""
        return self.value(s), self.slope(s)


@dataclass(frozen=True)
class AlphaResponse(Response):
    r"""The kernel of SpikeProp, with its maximum of 1 at ``tau``.

    .. math:: \varepsilon(s) = \frac{s}{\tau} e^{1 - s / \tau}, \quad s > 0

    Args:
        tau: positive, in the unit of the spike times.

    Raises:
        ValueError: ``tau`` is not positive.

    >>> AlphaResponse(7.0).value(torch.tensor([-1.0, 0.0, 7.0]))
    tensor([0., 0., 1.])
    """

    def __post_init__(self) -> None:
        checks.in_range("tau", self.tau, 0.0, math.inf, open_low=True)

    def value(self, s: Tensor) -> Tensor:
        x = s.clamp(min=0.0) / self.tau
        return x * torch.exp(1.0 - x)

    def slope(self, s: Tensor) -> Tensor:
        return self.both(s)[1]

    def both(self, s: Tensor) -> tuple[Tensor, Tensor]:
        x = s.clamp(min=0.0).div_(self.tau)
        left = x.neg().add_(1.0)
        decay = left.exp()
        return x.mul_(decay), left.mul_(decay).mul_(s > 0).div_(self.tau)


@dataclass(frozen=True)
class DoubleExponential(Response):
    r"""The kernel of a current-based LIF neuron with exponential synapses, until its first spike.

    .. math::
        \varepsilon(s) = \frac{\tau_s}{\tau - \tau_s} \left(e^{-s / \tau} - e^{-s / \tau_s}\right),
        \quad s > 0

    With it a layer is `learning.lif_spikes` with ``max_spikes=1``.

    Args:
        tau: time constant of the membrane.
        tau_s: time constant of the synapses, another one.

    Raises:
        ValueError: a time constant is not positive, or they are equal.

    >>> DoubleExponential(2.0, 1.0).value(torch.tensor([1.0]))
    tensor([0.2387])
    """

    tau_s: float

    def __post_init__(self) -> None:
        for name in ("tau", "tau_s"):
            checks.in_range(name, getattr(self, name), 0.0, math.inf, open_low=True)
        if self.tau == self.tau_s:
            raise ValueError(
                f"tau and tau_s must differ, got {self.tau} twice; write AlphaResponse for equal "
                "ones"
            )

    def value(self, s: Tensor) -> Tensor:
        x = s.clamp(min=0.0)
        return (
            self.tau_s
            / (self.tau - self.tau_s)
            * (torch.exp(-x / self.tau) - torch.exp(-x / self.tau_s))
        )

    def slope(self, s: Tensor) -> Tensor:
        x = s.clamp(min=0.0)
        falling = torch.exp(-x / self.tau_s) / self.tau_s - torch.exp(-x / self.tau) / self.tau
        return torch.where(s > 0, self.tau_s / (self.tau - self.tau_s) * falling, 0.0)
