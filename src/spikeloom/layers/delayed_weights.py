"""What layers with a delay for each synapse share: weights, delays, and the weight of each lag."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..core.numbers import MOST_UNITS, flag, whole
from ..core.stateful import computes_in_other_dtype
from .delay import Delayed

__all__ = ["DelayedWeights"]


class DelayedWeights(Delayed):
    """Base of the layers whose every weight has its own delay.

    A subclass declares ``delayed``, see `Delayed`, by the weights of `lagged`.

    Args:
        shape: of the weight, [out, in, ...].
        max_delay: D, the longest delay in steps, >= 1.
        delay: initial delays in steps, in [0, D]; a number or the shape of the weight. None: drawn
            evenly from [0, D].
        bias: whether to add a learned bias, which is not delayed.
        learn_delay: whether ``delay`` is a parameter.
        kernel: ``"linear"`` or ``"gaussian"``, see `SynapticDelay`.
        kernel_count: K, delays of each synapse, each with a weight of its own; with K > 1 weight
            and delay have shape [K, out, in, ...].
        sigma: width of the Gaussian in steps, > 0.
        mode: ``"step"`` or ``"sequence"``.

    >>> import torch, spikeloom as snn
    >>> layer = snn.DelayedLinear(3, 4, max_delay=5, kernel_count=2)
    >>> layer.weight.shape, layer.lagged().shape
    (torch.Size([2, 4, 3]), torch.Size([6, 4, 3]))
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        max_delay: int,
        delay: Any,
        bias: bool,
        learn_delay: bool,
        kernel: str,
        kernel_count: int,
        sigma: float,
        mode: str,
    ) -> None:
        count = whole("kernel_count", kernel_count, 1, MOST_UNITS)
        full = shape if count == 1 else (count, *shape)
        if delay is None:
            delay = torch.rand(full) * whole("max_delay", max_delay, 1)
        super().__init__(max_delay, delay, full, learn_delay, kernel, sigma, mode)
        self.kernel_count = count
        bound = 1 / math.sqrt(math.prod(shape[1:]) * count)  # as torch's layers
        self.weight = nn.Parameter(torch.empty(full).uniform_(-bound, bound))
        values = torch.empty(shape[0]).uniform_(-bound, bound)
        self.bias = nn.Parameter(values) if flag("bias", bias) else None

    def lagged(self) -> Tensor:
        """The weights of each lag, from the longest one to 0, [D + 1, out, in, ...]."""
        weights = self.weight * self.taps(self.weight.dtype).flip(0)
        return weights if self.kernel_count == 1 else weights.sum(1)

    def check_dtype(self, x: Tensor) -> None:
        """Check that a step has the dtype of the weight."""
        if self.weight.dtype != x.dtype and not computes_in_other_dtype(x):
            kind = type(self).__name__
            raise TypeError(
                f"{kind} has a weight of {self.weight.dtype}, got an input of {x.dtype}; write "
                f"x.to({self.weight.dtype})"
            )

    def extra_repr(self) -> str:
        """The arguments that all of these layers have."""
        learned = isinstance(self.delay, nn.Parameter)
        several = f", kernel_count={self.kernel_count}" if self.kernel_count > 1 else ""
        return (
            f"max_delay={self.max_delay}, bias={self.bias is not None}, learn_delay={learned}, "
            f"kernel={self.kernel!r}{several}"
        )
