"""Leaky integrate-and-fire neuron with spikes of -1, 0 and 1."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from ..core.reset import Keep
from .leaky import Leaky

__all__ = ["TernaryLIF"]


class TernaryLIF(Neuron):
    r"""Leaky integrate-and-fire neuron whose spikes have a sign.

    .. math::
        U[t] = \beta U[t-1] + I[t] \qquad S[t] = H(U[t] - \theta) - H(-U[t] - \theta) \\
        U[t] \leftarrow U[t] (1 - |S[t]|)

    No gradient passes the reset. With ``learn_graded_spikes_factor=True`` the size of a spike is
    learned, as in the paper; the reset does not depend on it.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        threshold: for spikes of both signs, > 0.
        learn_beta: make ``beta`` a parameter; it is clamped to [0, 1] in the equation.
        graded_spikes_factor: size of a spike.
        learn_graded_spikes_factor: make it a parameter.
        **options: those of `Neuron` but for its reset, which is to 0 in the step of the spike.

    Raises:
        ValueError: ``beta`` outside [0, 1].

    Source: Guo et al. (2024), Ternary Spike, AAAI.

    >>> import torch, spikeloom as snn
    >>> lif = snn.TernaryLIF(beta=0.5, mode="sequence")
    >>> spk, mem = lif(torch.tensor([0.8, 0.8, -0.8, -0.8]).view(4, 1, 1))
    >>> spk.flatten()
    tensor([ 0.,  1.,  0., -1.])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane U, [B, ...], in the unit of the threshold

    resets = {"zero": Keep()}  # done by ``settle``, which knows spikes of both signs
    example = {"beta": 0.9, "threshold": 0.6}
    no_nir_node = "its spikes have signs; use Leaky"

    def __init__(
        self,
        beta: Any = 0.5,
        threshold: Any = 1.0,
        learn_beta: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        super().__init__(
            threshold,
            reset_mechanism="zero",
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            **options,
        )
        self.decay_parameter("beta", beta, learn_beta)

    integrate = staticmethod(Leaky.integrate)

    @staticmethod
    def retract(state: Any, p: Any) -> Tensor:
        return -state.mem - p.threshold

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        fired = state.mem.detach().abs() > p.threshold.detach()
        return state._replace(mem=torch.where(fired, torch.zeros_like(state.mem), state.mem))

    init_ternary_lif = Neuron.reset_mem
