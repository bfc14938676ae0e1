"""Weight-carrying layers for spikes: they skip what did not fire, and keep spikes as bits for the backward pass."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..core import checks
from ..kernels.events.choice import Density

__all__ = ["SpikeConv2d", "SpikeLinear"]

_EVENTS = ("auto", "always", "never")


class SpikeLinear(nn.Linear):
    """A `torch.nn.Linear` that is fast where its input is mostly zero.

    On the CPU, in float32 or float64 and with the extra ``cpu``, inputs below a measured density are processed event
    by event, forward and for the gradient of the weight; results equal the dense ones up to the order of the sums.
    The input is then kept for the backward pass as bits or indices. Any values are right: graded spikes, currents.
    Everything else (other devices, autocast, ``torch.func``) is the ordinary layer.

    ``weight`` has the usual shape and ``state_dict``, but its transpose is what is contiguous in memory, so that the
    weights of one input lie together: ``weight.reshape(-1)``, not ``view``; ``weight.contiguous()`` where a file format
    asks for it. A contiguous weight put in its place works too and costs a copy a call.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: whether to add a learned bias.
        device: of the parameters.
        dtype: of the parameters.
        events: ``"auto"``: where they pay, decided by the density of each input; ``"always"``: or an error;
            ``"never"``: the dense product.

    Raises:
        ValueError: ``events`` is another word.
        RuntimeError: in ``forward``, ``events="always"`` cannot be obeyed; the message says why.
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
        super().__init__(in_features, out_features, bias, device, dtype)
        self.weight = nn.Parameter(self.weight.detach().t().contiguous().t())
        self.events = checks.choice("events", events, _EVENTS)
        self.density = Density()

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output, [..., out_features].

        Args:
            input: spikes, [..., in_features].
        """
        from ..kernels.events.linear import linear  # loads the operators on first use, not with the package

        return linear(input, self.weight, self.bias, events=self.events, density=self.density)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, events={self.events!r}"


class SpikeConv2d(nn.Conv2d):
    """A `torch.nn.Conv2d` that is fast where its input is mostly zero; see `SpikeLinear`.

    Each spike adds its patch of the weights to the maps. The threshold of ``"auto"`` lies lower than that of a linear
    layer, and lower still below 32 output channels. ``weight`` lies in memory as usual.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: one number or two.
        stride: one number or two.
        padding: one number or two, ``"same"`` or ``"valid"``.
        dilation: one number or two.
        groups: of channels.
        bias: whether to add a learned bias.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: of the parameters.
        dtype: of the parameters.
        events: ``"auto"``, ``"always"`` or ``"never"``, as for `SpikeLinear`.

    Raises:
        ValueError: ``events`` is another word.
        RuntimeError: in ``forward``, ``events="always"`` cannot be obeyed; the message says why.
        ImportError: in ``forward``, ``events="always"`` without numba.

    >>> import torch, spikeloom as snn
    >>> snn.SpikeConv2d(1, 4, 3, padding="same")(torch.zeros(2, 1, 5, 5)).shape
    torch.Size([2, 4, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Any = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        events: str = "auto",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        self.events = checks.choice("events", events, _EVENTS)
        self.density = Density()

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        from ..kernels.events.convolution import conv2d

        padding: Any = self.padding
        if self.padding_mode != "zeros" or isinstance(padding, str):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode), 0
        single = input.dim() == 3
        y = conv2d(
            input.unsqueeze(0) if single else input,
            weight,
            bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            events=self.events,
            density=self.density,
        )
        return y.squeeze(0) if single else y

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, events={self.events!r}"
