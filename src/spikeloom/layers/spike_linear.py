"""A linear layer for spikes, which skips silent inputs."""

from typing import Any

import torch
import torch.overrides
from torch import Tensor, nn

from ..core import checks
from ..core.numbers import MOST_UNITS, flag, tensor, whole

__all__ = ["SpikeLinear", "spike_linear"]

_EVENTS = ("auto", "always", "never")


class SpikeLinear(nn.Linear):
    """A `torch.nn.Linear` that is fast for mostly zero input.

    On the CPU, in float32 or float64 and with the extra ``cpu``, inputs are processed event by
    event, forward and for the gradient of the weight, where that is faster: both methods are timed
    once for each combination of sizes, density, dtype and threads. Results equal the dense ones up
    to the order of the sums. In other cases (other devices, autocast, ``torch.func``,
    ``torch.compile``) it is the ordinary layer.

    ``weight`` has the usual shape and ``state_dict``, but its transpose is contiguous in memory,
    so that the weights of one input are adjacent and a call copies none of them: write
    ``weight.reshape(-1)``, not ``view``, and ``weight.contiguous()`` for file formats that need it.
    A contiguous weight assigned to it works too, and costs a copy per call.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: whether to add a learned bias.
        device: device of the parameters.
        dtype: dtype of the parameters.
        events: ``"auto"`` for events where they are possible and a timing on this machine found
            them faster, ``"always"`` for events or an error, ``"never"`` for the dense product.

    Raises:
        ValueError: ``events`` has another value.
        RuntimeError: in ``forward``, ``events="always"`` is impossible; the message gives the
            reason.
        ImportError: in ``forward``, ``events="always"`` without numba.

    >>> import torch, spikeloom as snn
    >>> layer = snn.SpikeLinear(3, 2)
    >>> torch.allclose(layer(torch.eye(3)), layer.weight.t() + layer.bias)
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        events: str = "auto",
    ) -> None:
        in_features = whole("in_features", in_features, 0, MOST_UNITS)
        out_features = whole("out_features", out_features, 0, MOST_UNITS)
        super().__init__(in_features, out_features, flag("bias", bias), device, dtype)
        self.weight = nn.Parameter(self.weight.detach().t().contiguous().t())
        self.events = checks.choice("events", events, _EVENTS)

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output, [..., out_features].

        Args:
            input: spikes, [..., in_features]; of the weight's dtype, or stored as booleans or as
                integers of 8 or 16 bits, which events read faster and keep for the backward pass
                as they are; the dense product converts them.
        """
        given = (input, self.weight, self.bias, self.events)
        if not torch.compiler.is_compiling() and torch._C._is_torch_function_mode_enabled():
            # a single operation, because its values decide how it is computed
            return torch.overrides.handle_torch_function(spike_linear, (input,), *given)
        return spike_linear(*given)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, events={self.events!r}"


def spike_linear(x: Tensor, weight: Tensor, bias: Tensor | None, events: str) -> Tensor:
    """The output of a layer, by events where they are possible and wanted, else dense."""
    return described(x, weight, bias, events)[0]


def described(
    x: Tensor, weight: Tensor, bias: Tensor | None, events: str, *, inside: bool = False
) -> tuple[Tensor, str]:
    """The output of a layer and how it was computed, "" for the only possible way.

    ``inside``: no caller sees the output, so that its memory may be used again.
    """
    if tensor("input", x).dim() == 0 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"SpikeLinear has in_features={weight.shape[-1]}, got an input of shape "
            f"{tuple(x.shape)}; the features are its last axis"
        )
    from ..kernels.events import choice, linear  # on first use, not with the package

    if events == "always" and not (x.is_meta and weight.is_meta):  # a shape needs no events
        linear.demand(linear.refusal(x, weight))
        return linear.linear(x, weight, bias, inside=inside), "events"
    stored = x.dtype in linear.loops.WHOLE
    if x.dtype != weight.dtype and not stored and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(
            f"SpikeLinear has a weight of {weight.dtype}, got an input of {x.dtype}; write "
            f"x.to({weight.dtype})"
        )
    if events == "auto":
        return choice.linear(x, weight, bias, made_for_events=True, inside=inside)
    return choice.dense(x, weight, bias, made_for_events=True), ""
