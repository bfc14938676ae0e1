"""Second-order leaky integrate-and-fire neuron with feedback of its spikes."""

from typing import Any, NamedTuple

from torch import Tensor

from ..core.options import AddedOptions, Unpack
from .recurrent import Recurrent
from .synaptic import Synaptic

__all__ = ["RSynaptic"]


class RSynaptic(Recurrent):
    r"""Leaky integrate-and-fire neuron with a synaptic current, into which its spikes are fed back.

    .. math::
        I_{syn}[t+1] = \alpha I_{syn}[t] + I[t+1] + V(S[t]) \qquad
        U[t+1] = \beta U[t] + I_{syn}[t+1] - R[t] \theta

    Resets as in `Synaptic`, feedback as in `RLeaky`. Unlike in snnTorch ``reset_delay=False``
    works, and resetting or detaching the state covers the spikes.

    Args:
        alpha: decay of the synaptic current per step, in [0, 1]; a scalar or one value for each
            neuron.
        beta: decay of the membrane per step, likewise.
        V: weight of one-to-one feedback; a scalar or one value for each neuron.
        all_to_all: False for one-to-one feedback.
        linear_features: number of neurons, for linear feedback.
        conv2d_channels: number of channels, for feedback by a convolution.
        kernel_size: of that convolution, odd, one number or two.
        learn_alpha: make ``alpha`` a parameter.
        learn_beta: make ``beta`` a parameter.
        learn_recurrent: whether the feedback weights learn.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``alpha`` or ``beta`` outside [0, 1], or as for `RLeaky`.
        TypeError: as for `RLeaky`.

    Source: Eshraghian et al. (2023), Proc. IEEE 111, 1016-1054.

    >>> import torch, spikeloom as snn
    >>> rlif = snn.RSynaptic(alpha=0.5, beta=0.5, V=0.25, all_to_all=False, learn_recurrent=False)
    >>> spk, syn, mem = rlif.init_rsynaptic()
    >>> for _ in range(2):
    ...     spk, syn, mem = rlif(torch.tensor([[1.5]]), spk, syn, mem)
    >>> spk, syn, mem
    (tensor([[1.]]), tensor([[2.5000]]), tensor([[2.2500]]))
    """

    class State(NamedTuple):
        spk: Tensor  # spikes of the last step, [B, ...]
        syn: Tensor  # synaptic current, [B, ...], in the unit of the input
        mem: Tensor  # membrane potential, [B, ...], in the unit of the threshold

    example = {"alpha": 0.8, "beta": 0.9, "linear_features": 5}

    def __init__(
        self,
        alpha: Any,
        beta: Any,
        V: Any = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: Any = None,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        reset_delay: bool = True,
        **options: Unpack[AddedOptions],
    ) -> None:
        super().__init__(
            beta,
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            inhibition=inhibition,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
            state_quant=state_quant,
            output=output,
            reset_delay=reset_delay,
            **options,
        )
        self.connect(V, all_to_all, linear_features, conv2d_channels, kernel_size, learn_recurrent)
        self._alpha_register_buffer(alpha, learn_alpha)
        self._adopt("alpha")
        self._init_mem()

    charge = staticmethod(Synaptic.integrate)
    _alpha_register_buffer = Synaptic._alpha_register_buffer
    nir_node = staticmethod(Synaptic.nir_node)
    _base_zero = Recurrent._zero_of_membrane
    init_rsynaptic = Recurrent.reset_mem
