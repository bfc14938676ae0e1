"""LSTM cell whose hidden state is a membrane that fires."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.neuron import Neuron
from ..core.numbers import MOST_UNITS, flag, whole
from ..core.options import AddedOptions, Unpack

__all__ = ["SLSTM"]


class SLSTM(Neuron):
    r"""Spiking LSTM cell: ``mem`` is the hidden state h, ``syn`` the cell state c.

    .. math::
        i, f, o = \sigma(W_{i,f,o} [I[t+1], U[t]]) \quad g = \tanh(W_g [I[t+1], U[t]]) \quad
        S_{yn}[t+1] = f S_{yn}[t] + i g \quad U[t+1] = o \tanh(S_{yn}[t+1])

    ``"subtract"`` takes the threshold from the new membrane after a spike, ``"zero"`` clears it,
    ``"none"`` (default) keeps it; ``syn`` is never reset. The membrane is in (-1, 1): with a
    threshold of 1 (the default, as in snnTorch) it can never fire. Unlike in snnTorch the state
    survives a step when ``input_size`` differs from ``hidden_size``.

    Args:
        input_size: number of input features.
        hidden_size: number of neurons.
        bias: whether the gates have a bias.
        threshold: firing threshold of ``mem``, useful in (0, 1).
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: the input has not ``input_size`` features.

    Source: Hochreiter & Schmidhuber (1997), Neural Comput. 9, 1735-1780, for the cell.

    >>> import torch, spikeloom as snn
    >>> cell = snn.SLSTM(input_size=3, hidden_size=2, threshold=0.1)
    >>> syn, mem = cell.init_slstm()
    >>> spk, syn, mem = cell(torch.rand(4, 3), syn, mem)
    >>> spk.shape, syn.shape, mem.shape
    (torch.Size([4, 2]), torch.Size([4, 2]), torch.Size([4, 2]))
    """

    class State(NamedTuple):
        syn: Tensor  # cell state, [B, hidden_size]
        mem: Tensor  # hidden state, [B, hidden_size], in (-1, 1)

    no_nir_node = "its gates multiply signals, which no NIR neuron does; use RSynaptic"
    example = {"input_size": 5, "hidden_size": 5, "threshold": 0.1}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
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
        self.input_size = whole("input_size", input_size, 1, MOST_UNITS)
        self.hidden_size = whole("hidden_size", hidden_size, 1, MOST_UNITS)
        self.bias = flag("bias", bias)
        self.lstm_cell = nn.LSTMCell(self.input_size, self.hidden_size, bias=self.bias)
        self._init_mem()

    def integrate(self, x: Tensor, state: Any, p: Any) -> Any:
        mem, syn = self.lstm_cell(x, (state.mem, state.syn))
        return state._replace(syn=syn, mem=mem)

    def state_shape(self, x: Tensor) -> torch.Size:
        """``hidden_size`` in the place of ``input_size``."""
        checks.at_most_axes("SLSTM", "B, features", x)
        checks.axis_has("SLSTM", "input_size", self.input_size, x, -1)
        return torch.Size((*x.shape[:-1], self.hidden_size))

    _base_zero = Neuron._zero_of_membrane
    init_slstm = Neuron.reset_mem
