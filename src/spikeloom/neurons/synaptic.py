"""Second-order leaky integrate-and-fire neuron: a decaying current charges a decaying membrane."""

from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from ..core import checks
from ..core.decays import unit
from ..core.lif import LIF

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

    class State(NamedTuple):
        syn: Tensor  # synaptic current, [B, ...], in the unit of the input
        mem: Tensor  # membrane potential, [B, ...], in the unit of the threshold

    example: ClassVar[dict[str, Any]] = {"alpha": 0.8, "beta": 0.9}

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
        *,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        mode: str = "step",
    ) -> None:
        checks.in_range(
            "alpha",
            alpha,
            0.0,
            1.0,
            why="it is the fraction of the current that is left after one step",
        )
        spike = (
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_beta,
            learn_threshold,
        )
        rest = (
            reset_mechanism,
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
        )
        super().__init__(beta, *spike, *rest, reset_delay=reset_delay, mode=mode)
        self.decay("alpha", alpha, learn_alpha)
        self._init_mem()

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        syn = unit(p.alpha) * state.syn + x
        return state._replace(syn=syn, mem=unit(p.beta) * state.mem + syn)

    _base_zero = LIF._zero_of_membrane
    init_synaptic = LIF.reset_mem
