"""Convolutions with a delay for each synapse."""

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.utils import _ntuple

from ..core.numbers import MOST_UNITS, whole
from .delayed_weights import DelayedWeights

__all__ = ["DelayedConv1d", "DelayedConv2d"]


class _DelayedConv(DelayedWeights):
    """A convolution over space whose kernels have a delay for each of their weights.

    One convolution over space and time computes all lags.
    """

    axes: ClassVar[int]  # of space
    over_time: ClassVar[Any]  # torch's convolution with one more axis

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        max_delay: int,
        delay: Any = None,
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        learn_delay: bool = False,
        kernel: str = "linear",
        sigma: float = 1.0,
        mode: str = "step",
        kernel_count: int = 1,
    ) -> None:
        in_channels = whole("in_channels", in_channels, 1, MOST_UNITS)
        out_channels = whole("out_channels", out_channels, 1, MOST_UNITS)
        groups = whole("groups", groups, 1, MOST_UNITS)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels, got {groups} for {in_channels} "
                f"and {out_channels}; write groups=1"
            )
        sizes = self._sizes("kernel_size", kernel_size, 1)
        super().__init__(
            (out_channels, in_channels // groups, *sizes),
            max_delay,
            delay,
            bias,
            learn_delay,
            kernel,
            kernel_count,
            sigma,
            mode,
        )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = sizes
        self.stride = self._sizes("stride", stride, 1)
        self.padding = self._sizes("padding", padding, 0)
        self.dilation = self._sizes("dilation", dilation, 1)
        self.groups = groups

    def _sizes(self, name: str, value: Any, low: int) -> tuple[int, ...]:
        """One number for each axis of space."""
        if isinstance(value, str):
            raise ValueError(
                f"{name} must be whole numbers, got {value!r}; write {name}={low + 1}, or "
                f"{(low + 1,) * self.axes}"
            )
        sizes = tuple(_ntuple(self.axes)(value))
        if len(sizes) != self.axes:
            raise ValueError(
                f"{name} must be one number or {self.axes}, got {value!r}; write {name}={low + 1}"
            )
        return tuple(whole(name, size, low, MOST_UNITS) for size in sizes)

    def delayed(self, known: Tensor) -> Tensor:
        """The convolution of all weights with the inputs of their lags."""
        order = (1, 2, 0, *range(3, 3 + self.axes))  # time after the channels
        y = type(self).over_time(
            known.permute(order),
            self.lagged().permute(order),
            self.bias,
            (1, *self.stride),
            (0, *self.padding),
            (1, *self.dilation),
            self.groups,
        )
        return y.movedim(2, 0)

    def check_channels(self, x: Tensor) -> None:
        kind = type(self).__name__
        if x.dim() != 2 + self.axes or x.shape[1] != self.in_channels:
            space = ", ".join("HW"[2 - self.axes :] if self.axes == 2 else "L")
            raise ValueError(
                f"{kind} takes steps of shape [B, {self.in_channels}, {space}], got "
                f"{tuple(x.shape)}; its in_channels is the second axis"
            )
        for axis, size in enumerate(x.shape[2:]):
            room = size + 2 * self.padding[axis]
            span = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            if span > room:
                raise ValueError(
                    f"{kind} has a kernel of {span} along axis {axis + 2} of its input "
                    f"{tuple(x.shape)}, which has {room} with its padding; write a smaller "
                    "kernel_size or more padding"
                )
        self.check_dtype(x)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, groups={self.groups}, {super().extra_repr()}"
        )


class DelayedConv1d(_DelayedConv):
    r"""A convolution over one axis of space whose every weight has its own delay.

    .. math:: y_o[t] = b_o + \sum_i \sum_{k=0}^{D} \big(w_k(d_{oi}) \odot W_{oi}\big) * x_i[t - k]

    The weights w_k of a delay are those of `SynapticDelay`, and delays are learned as those of
    `DelayedLinear`.

    Args:
        in_channels: size of axis 1 of the input.
        out_channels: size of axis 1 of the output.
        kernel_size: of the convolution over space.
        max_delay: D, the longest delay in steps, >= 1.
        delay: initial delays in steps, in [0, D]; a number or the shape of the weight,
            [out_channels, in_channels / groups, kernel_size]. Default: drawn evenly from [0, D].
        stride, padding, dilation, groups: as for ``nn.Conv1d``, padded with zeros.
        bias: whether to add a learned bias, which is not delayed.
        learn_delay: whether ``delay`` is a parameter.
        kernel: ``"linear"`` or ``"gaussian"``; it may be assigned later.
        sigma: width of the Gaussian in steps, > 0; it may be assigned later.
        mode: ``"step"`` for inputs [B, C, L], ``"sequence"`` for [T, B, C, L].
        kernel_count: K, delays of each synapse, as for `DelayedLinear`.

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size out of range, ``delay`` out of range or of another shape, an unknown
            ``kernel``, ``sigma`` not positive, or an input of other axes or channels.

    Source: Khalfaoui-Hassani, Pellegrini & Masquelier (2023), ICLR, for the learned positions;
    Hammouamri, Khalfaoui-Hassani & Masquelier (2024), ICLR, for positions in time as delays.

    >>> import torch, spikeloom as snn
    >>> layer = snn.DelayedConv1d(2, 4, kernel_size=3, max_delay=5, padding=1)
    >>> snn.run(layer, torch.rand(9, 1, 2, 7)).shape
    torch.Size([9, 1, 4, 7])
    """

    axes = 1
    over_time = F.conv2d


class DelayedConv2d(_DelayedConv):
    r"""A convolution over two axes of space whose every weight has its own delay.

    .. math:: y_o[t] = b_o + \sum_i \sum_{k=0}^{D} \big(w_k(d_{oi}) \odot W_{oi}\big) * x_i[t - k]

    The weights w_k of a delay are those of `SynapticDelay`, and delays are learned as those of
    `DelayedLinear`.

    Args:
        in_channels: size of axis 1 of the input.
        out_channels: size of axis 1 of the output.
        kernel_size: of the convolution over space, one number or two.
        max_delay: D, the longest delay in steps, >= 1.
        delay: initial delays in steps, in [0, D]; a number or the shape of the weight,
            [out_channels, in_channels / groups, kH, kW]. Default: drawn evenly from [0, D].
        stride, padding, dilation, groups: as for ``nn.Conv2d``, padded with zeros.
        bias: whether to add a learned bias, which is not delayed.
        learn_delay: whether ``delay`` is a parameter.
        kernel: ``"linear"`` or ``"gaussian"``; it may be assigned later.
        sigma: width of the Gaussian in steps, > 0; it may be assigned later.
        mode: ``"step"`` for inputs [B, C, H, W], ``"sequence"`` for [T, B, C, H, W].
        kernel_count: K, delays of each synapse, as for `DelayedLinear`.

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size out of range, ``delay`` out of range or of another shape, an unknown
            ``kernel``, ``sigma`` not positive, or an input of other axes or channels.

    Source: Khalfaoui-Hassani, Pellegrini & Masquelier (2023), ICLR, for the learned positions;
    Hammouamri, Khalfaoui-Hassani & Masquelier (2024), ICLR, for positions in time as delays.

    >>> import torch, spikeloom as snn
    >>> layer = snn.DelayedConv2d(2, 4, kernel_size=3, max_delay=5, padding=1)
    >>> snn.run(layer, torch.rand(9, 1, 2, 6, 6)).shape
    torch.Size([9, 1, 4, 6, 6])
    """

    axes = 2
    over_time = F.conv3d
