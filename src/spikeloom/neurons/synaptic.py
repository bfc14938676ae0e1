"""Second-order leaky integrate-and-fire neuron: a decaying current charges a decaying membrane."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..core.decays import time_constant, unit
from ..core.options import AddedOptions, Unpack
from .leaky import LIF, Leaky

__all__ = ["Synaptic"]


class Synaptic(LIF):
    r"""Leaky integrate-and-fire neuron with a synaptic current.

    .. math::
        I_{syn}[t+1] = \alpha I_{syn}[t] + I[t+1] \qquad
        U[t+1] = \beta U[t] + I_{syn}[t+1] - R[t] \theta

    with ``reset_mechanism="subtract"``; ``"zero"`` multiplies the whole new membrane, input
    included, by ``1 - R[t]``; ``"none"``: no reset term. The current is never reset. alpha and beta
    are clamped to [0, 1] in the equation.

    Args:
        alpha: decay of the synaptic current per step, in [0, 1]; a scalar or one value for each
            neuron.
        beta: decay of the membrane per step, likewise.
        learn_alpha: make ``alpha`` a parameter.
        learn_beta: make ``beta`` a parameter.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``alpha`` or ``beta`` outside [0, 1].

    Source: Eshraghian et al. (2023), Proc. IEEE 111, 1016-1054.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Synaptic(alpha=0.5, beta=0.5)
    >>> syn, mem = lif.init_synaptic()
    >>> for _ in range(3):
    ...     spk, syn, mem = lif(torch.tensor([[0.4]]), syn, mem)
    >>> spk, syn, mem
    (tensor([[1.]]), tensor([[0.7000]]), tensor([[1.1000]]))
    """

    syn: Tensor
    alpha: Tensor

    class State(NamedTuple):
        syn: Tensor  # synaptic current, [B, ...], in the unit of the input
        mem: Tensor  # membrane potential, [B, ...], in the unit of the threshold

    is_linear = True
    example = {"alpha": 0.8, "beta": 0.9}

    def __init__(
        self,
        alpha: Any,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
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
        self._alpha_register_buffer(alpha, learn_alpha)
        self._adopt("alpha")
        self._init_mem()

    def _alpha_register_buffer(self, alpha: Any, learn_alpha: bool) -> None:
        self.decay_parameter("alpha", alpha, learn_alpha, of="current")

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        syn = unit(p.alpha) * state.syn + x
        return Leaky.integrate(syn, state._replace(syn=syn), p)

    @staticmethod
    def nir_node(p: Mapping[str, Any], dt: float) -> tuple[str, dict[str, Any]]:
        """Return a CubaLIF: Euler's time constants, and scales that leave the input as it is."""
        tau_syn = time_constant(p["alpha"], dt)
        tau_mem = time_constant(p["beta"], dt)
        return "CubaLIF", {
            "tau_syn": tau_syn,
            "tau_mem": tau_mem,
            "r": tau_mem / dt,
            "w_in": tau_syn / dt,
            "v_leak": 0 * tau_mem,
            "v_threshold": p["threshold"],
            "v_reset": 0 * tau_mem,
        }

    _base_zero = LIF._zero_of_membrane
    init_synaptic = LIF.reset_mem
