"""Leaky integrate-and-fire neuron with feedback of its spikes."""

from typing import Any, NamedTuple

from torch import Tensor

from ..core.options import AddedOptions, Unpack
from .leaky import Leaky
from .recurrent import Recurrent

__all__ = ["RLeaky"]


class RLeaky(Recurrent):
    r"""Leaky integrate-and-fire neuron whose spikes are fed back to the input.

    .. math:: U[t+1] = \beta U[t] + I[t+1] + V(S[t]) - R[t] \theta

    with ``reset_mechanism="subtract"``; ``"zero"`` multiplies the whole new membrane by ``1 -
    R[t]``; ``"none"``: no reset. V is a linear layer (``linear_features``), a convolution
    (``conv2d_channels``, ``kernel_size``), both with a bias that also acts at the first step, or
    one number for each neuron (``all_to_all=False``). Unlike in snnTorch a fixed V follows
    ``.to()``, and assigning ``V`` has an effect.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        V: weight of one-to-one feedback; a scalar or one value for each neuron.
        all_to_all: False for one-to-one feedback.
        linear_features: number of neurons, for linear feedback.
        conv2d_channels: number of channels, for feedback by a convolution.
        kernel_size: of that convolution, odd, one number or two.
        learn_beta: make ``beta`` a parameter.
        learn_recurrent: whether the feedback weights learn.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``beta`` outside [0, 1], an even ``kernel_size``, or an input that does not fit
            the feedback.
        TypeError: the arguments do not name exactly one kind of feedback.

    Source: Eshraghian et al. (2023), Proc. IEEE 111, 1016-1054.

    >>> import torch, spikeloom as snn
    >>> rlif = snn.RLeaky(beta=0.5, V=0.25, all_to_all=False, learn_recurrent=False)
    >>> spk, mem = rlif.init_rleaky()
    >>> for _ in range(2):
    ...     spk, mem = rlif(torch.tensor([[1.5]]), spk, mem)
    >>> spk, mem
    (tensor([[1.]]), tensor([[1.5000]]))
    """

    class State(NamedTuple):
        spk: Tensor  # spikes of the last step, [B, ...]
        mem: Tensor  # membrane potential, [B, ...], in the unit of the threshold

    example = {"beta": 0.9, "linear_features": 5}

    def __init__(
        self,
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
        self._init_mem()

    charge = staticmethod(Leaky.integrate)
    nir_node = staticmethod(Leaky.nir_node)
    _base_zero = Recurrent._zero_by_second_pass
    init_rleaky = Recurrent.reset_mem
