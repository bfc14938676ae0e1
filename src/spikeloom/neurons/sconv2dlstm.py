"""Convolutional LSTM cell whose hidden state is a membrane that fires."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core import checks
from ..core.neuron import Neuron
from ..core.numbers import MOST_UNITS, flag, whole
from ..core.options import AddedOptions, Unpack
from .recurrent import same_size
from .slstm import SLSTM

__all__ = ["SConv2dLSTM"]


class SConv2dLSTM(Neuron):
    r"""Spiking convolutional LSTM cell: ``mem`` is the hidden state h, ``syn`` the cell state c.

    .. math::
        i, f, o = \sigma(W_{i,f,o} * [I[t+1], U[t]]) \quad g = \tanh(W_g * [I[t+1], U[t]]) \quad
        S_{yn}[t+1] = f S_{yn}[t] + i g \quad U[t+1] = o \tanh(S_{yn}[t+1])

    Padding keeps height and width. Resets as in `SLSTM`. With ``max_pool`` or ``avg_pool`` the
    membrane is pooled before it is compared with the threshold: the spikes are smaller than the
    states, which are never pooled.

    Args:
        in_channels: channels of the input, [B, in_channels, H, W].
        out_channels: channels of spikes and states.
        kernel_size: of the convolution, odd, one number or two.
        bias: whether the gates have a bias.
        max_pool: kernel of the pooling, one number or two; 0: none.
        avg_pool: likewise; at most one of the two.
        threshold: firing threshold of ``mem``, useful in (0, 1).
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: both poolings, pooling with ``reset_delay=False`` (pooled spikes do not say who
            fired), an even ``kernel_size``, or an input that has not ``in_channels`` channels.

    Source: Shi et al. (2015), NeurIPS 28, for the cell.

    >>> import torch, spikeloom as snn
    >>> cell = snn.SConv2dLSTM(1, 4, kernel_size=3, max_pool=2, threshold=0.1)
    >>> syn, mem = cell.init_sconv2dlstm()
    >>> spk, syn, mem = cell(torch.rand(2, 1, 8, 8), syn, mem)
    >>> spk.shape, mem.shape
    (torch.Size([2, 4, 4, 4]), torch.Size([2, 4, 8, 8]))
    """

    class State(NamedTuple):
        syn: Tensor  # cell state, [B, out_channels, H, W]
        mem: Tensor  # hidden state, [B, out_channels, H, W], in (-1, 1)

    no_nir_node = SLSTM.no_nir_node
    example = {
        "in_channels": 2,
        "out_channels": 3,
        "kernel_size": 3,
        "threshold": 0.05,
    }
    example_shape = (2, 4, 4)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        bias: bool = True,
        max_pool: Any = 0,
        avg_pool: Any = 0,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "none",
        state_quant: Any = False,
        output: bool = False,
        *,
        reset_delay: bool = True,
        **options: Unpack[AddedOptions],
    ) -> None:
        super().__init__(
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            inhibition=inhibition,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
            state_quant=state_quant,
            output=output,
            reset_delay=reset_delay,
            **options,
        )
        self.in_channels = whole("in_channels", in_channels, 1, MOST_UNITS)
        self.out_channels = whole("out_channels", out_channels, 1, MOST_UNITS)
        self.kernel_size = kernel_size
        self.bias = flag("bias", bias)
        _check_pool("max_pool", max_pool)
        _check_pool("avg_pool", avg_pool)
        if max_pool and avg_pool:
            raise ValueError(
                f"max_pool and avg_pool exclude each other, got {max_pool} and {avg_pool}; leave "
                "one out"
            )
        if (max_pool or avg_pool) and not reset_delay:
            raise ValueError(
                "reset_delay=False needs to know who fired, which pooled spikes do not say; leave "
                "one out"
            )
        self.max_pool = max_pool
        self.avg_pool = avg_pool
        channels = self.in_channels + self.out_channels
        self.conv = same_size(channels, 4 * self.out_channels, kernel_size, bias=self.bias)
        self.padding = self.conv.padding
        self._init_mem()

    def integrate(self, x: Tensor, state: Any, p: Any) -> Any:
        i, f, o, g = self.conv(torch.cat([x, state.mem], dim=-3)).chunk(4, dim=-3)
        syn = torch.sigmoid(f) * state.syn + torch.sigmoid(i) * torch.tanh(g)
        return state._replace(syn=syn, mem=torch.sigmoid(o) * torch.tanh(syn))

    def trigger(self, state: Any, p: Any) -> Tensor:
        return self._pooled(state.mem) - p.threshold

    def shift_obstacle(self) -> str:
        """Why the threshold cannot be random: pooled membranes are not those of neurons."""
        if self.max_pool or self.avg_pool:
            return "its pooled spikes do not say which neuron fired"
        return super().shift_obstacle()

    def _pooled(self, mem: Tensor) -> Tensor:
        if self.max_pool:
            return F.max_pool2d(mem, self.max_pool)
        return F.avg_pool2d(mem, self.avg_pool) if self.avg_pool else mem

    def state_shape(self, x: Tensor) -> torch.Size:
        """``out_channels`` in the place of ``in_channels``."""
        checks.at_most_axes("SConv2dLSTM", "B, channels, height, width", x)
        checks.axis_has("SConv2dLSTM", "in_channels", self.in_channels, x, -3)
        if not x.shape[-2:].numel():
            raise ValueError(
                f"SConv2dLSTM needs images of at least one pixel, got {tuple(x.shape)}; write "
                "[B, channels, height, width]"
            )
        return torch.Size((*x.shape[:-3], self.out_channels, *x.shape[-2:]))

    _base_zero = Neuron._zero_of_membrane
    init_sconv2dlstm = Neuron.reset_mem


def _check_pool(name: str, pool: Any) -> None:
    for size in pool if isinstance(pool, (tuple, list)) else (pool,):
        whole(name, size, 0, MOST_UNITS)
