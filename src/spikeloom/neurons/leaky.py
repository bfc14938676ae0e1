"""First-order leaky integrate-and-fire neuron."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from ..core.decays import unit
from ..core.lif import LIF
from ..core.reset import Keep, Reset, Subtract, ZeroBefore, ZeroBeforeAttached

__all__ = ["Leaky"]


class Leaky(LIF):
    r"""Leaky integrate-and-fire neuron with an exponentially decaying membrane.

    .. math::
        U[t+1] = \beta U[t] + I[t+1] - R[t] \theta \qquad S[t+1] = H(U[t+1] - \theta) \qquad
        R[t] = H(U[t] - \theta)

    with ``reset_mechanism="subtract"``; ``"zero"``: ``U[t+1] = beta (1 - R[t]) U[t] + I[t+1]``;
    ``"none"``: no reset. The reset signal carries no gradient, but with ``"zero_attached"`` (the
    iterative neuron of STBP): as ``"zero"``, with the gradient of the spike. beta is clamped to [0,
    1] in the equation, so that learning cannot leave it.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        learn_beta: make it a parameter.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``beta`` outside [0, 1].

    Source: Eshraghian et al. (2023), Proc. IEEE 111, 1016-1054, section III.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(beta=0.5)
    >>> mem = lif.init_leaky()
    >>> for _ in range(2):
    ...     spk, mem = lif(torch.tensor([[0.8]]), mem)
    >>> spk, mem
    (tensor([[1.]]), tensor([[1.2000]]))
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in the unit of the threshold

    resets: ClassVar[Mapping[str, Reset]] = {
        **{"subtract": Subtract(), "zero": ZeroBefore(), "none": Keep()},
        "zero_attached": ZeroBeforeAttached(),
    }
    example: ClassVar[dict[str, Any]] = {"beta": 0.9}

    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        *,
        mode: str = "step",
    ) -> None:
        super().__init__(
            beta,
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_beta,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
            reset_delay=reset_delay,
            mode=mode,
        )
        self._init_mem()

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=unit(p.beta) * state.mem + x)

    init_leaky = LIF.reset_mem
