"""A linear layer with a delay for each synapse."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..core.numbers import MOST_UNITS, whole
from .delayed_weights import DelayedWeights

__all__ = ["DelayedLinear"]


class DelayedLinear(DelayedWeights):
    r"""A linear layer whose every weight has its own delay, which may be fractional and learned.

    .. math:: y_o[t] = b_o + \sum_i W_{oi} \sum_{k=0}^{D} w_k(d_{oi}) \, x_i[t - k]

    The weights w_k of a delay are those of `SynapticDelay`: ``"linear"`` interpolates between the
    two steps around the delay, ``"gaussian"`` weights all steps by a normal density around it. To
    learn delays as in the paper, start with a ``sigma`` of about D / 2, decrease it while training
    to about 0.5, and then set ``kernel = "linear"`` and round the delays. Its
    state is the last D inputs, as that of `SynapticDelay`.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        max_delay: D, the longest delay in steps, >= 1; d is clamped to [0, D] in the equation.
        delay: initial delays in steps, in [0, D]; a number or [out_features, in_features]. Default:
            drawn evenly from [0, D].
        bias: whether to add a learned bias, which is not delayed.
        learn_delay: whether ``delay`` is a parameter.
        kernel: ``"linear"`` or ``"gaussian"``; it may be assigned later.
        sigma: width of the Gaussian in steps, > 0; it may be assigned later.
        mode: ``"step"`` for inputs [B, in_features], ``"sequence"`` for [T, B, in_features].
        kernel_count: K, delays of each synapse, each with a weight of its own; with K > 1 weight
            and delay have shape [K, out_features, in_features].

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size out of range, ``delay`` out of range or of another shape, an unknown
            ``kernel``, ``sigma`` not positive, or an input of other axes or features.

    Source: Hammouamri, Khalfaoui-Hassani & Masquelier (2024), ICLR.

    >>> import torch, spikeloom as snn
    >>> layer = snn.DelayedLinear(2, 1, max_delay=4, delay=torch.tensor([[3.0, 0.0]]), bias=False)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[1.0, 10.0]]))
    >>> x = torch.zeros(6, 1, 2)
    >>> x[0, 0, 0] = x[3, 0, 1] = 1
    >>> snn.run(layer, x).flatten().tolist()
    [0.0, 0.0, 0.0, 11.0, 0.0, 0.0]
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        max_delay: int,
        delay: Any = None,
        bias: bool = True,
        learn_delay: bool = False,
        kernel: str = "linear",
        *,
        sigma: float = 1.0,
        mode: str = "step",
        kernel_count: int = 1,
    ) -> None:
        in_features = whole("in_features", in_features, 1, MOST_UNITS)
        out_features = whole("out_features", out_features, 1, MOST_UNITS)
        shape = (out_features, in_features)
        super().__init__(
            shape, max_delay, delay, bias, learn_delay, kernel, kernel_count, sigma, mode
        )
        self.in_features = in_features
        self.out_features = out_features

    def delayed(self, known: Tensor) -> Tensor:
        """The product of all weights with the inputs of their lags, as one convolution over
        time."""
        y = F.conv1d(known.permute(1, 2, 0), self.lagged().permute(1, 2, 0), self.bias)
        return y.permute(2, 0, 1)

    def check_channels(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] != self.in_features:
            raise ValueError(
                f"DelayedLinear takes steps of shape [B, {self.in_features}], got "
                f"{tuple(x.shape)}; its in_features is the last axis"
            )
        self.check_dtype(x)

    def extra_repr(self) -> str:
        """The arguments."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, {super().extra_repr()}"
