"""Leaky neuron whose threshold rises with its spikes: the excitatory cell of Diehl & Cook."""

from typing import Any, NamedTuple

from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from .refractory_lif import RefractoryLIF, unless_silent

__all__ = ["AdaptiveThresholdLIF", "adapt"]


class AdaptiveThresholdLIF(RefractoryLIF):
    r"""Leaky integrate-and-fire neuron with a refractory period and an adaptive threshold.

    .. math::
        U[t+1] = \beta U[t] + I[t+1] \; (\text{not refractory}) \qquad
        \theta[t+1] = d_\theta \theta[t] + \theta_+ S[t+1] \\
        S[t+1] = H(U[t+1] - \vartheta - d_\theta \theta[t] + \theta_0)

    The membrane is measured from rest. The rise is forgotten so slowly that it lasts over many
    samples: homeostasis, by which neurons that fire often leave samples to the others. The defaults
    are those of the excitatory cell of Diehl & Cook with a step of 1 ms, its input a current, in mV
    above the resting potential of -65 mV.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        threshold: above rest, > 0; the neuron fires when ``mem > threshold + theta -
            theta_offset``.
        reset_to: membrane after a spike, below ``threshold``.
        refractory_steps: steps without input after the step of a spike; >= 0.
        theta_plus: rise of the threshold by a spike; >= 0.
        theta_decay: fraction of the rise that is left after one step, in [0, 1]. Default: exp(-1 /
            10^7).
        theta_offset: subtracted from the threshold, so that a neuron silent for long becomes
            excitable; >= 0.
        learn_beta: make ``beta`` a parameter; it is clamped to [0, 1] in the equation.
        **options: as for `RefractoryLIF`.

    Raises:
        ValueError: as for `RefractoryLIF`, or ``theta_decay`` outside [0, 1], or another of theta's
            numbers negative.

    Source: constants from the code of Diehl & Cook (2015), Front. Comput. Neurosci. 9:99; the
    current-based form is that of n3ml and BindsNET.

    >>> import torch, spikeloom as snn
    >>> cell = snn.AdaptiveThresholdLIF(theta_plus=2.0, refractory_steps=0, mode="sequence")
    >>> spk, mem, refractory, theta = cell(torch.full((10, 1, 1), 6.0))
    >>> spk.flatten(), theta[-1].item()
    (tensor([0., 0., 1., 0., 1., 0., 0., 1., 0., 0.]), 5.99...)
    """

    class State(NamedTuple):
        mem: Tensor  # membrane above rest, [B, ...]
        refractory: Tensor  # steps of silence that are left, [B, ...]
        theta: Tensor  # rise of the threshold, [B, ...]

    example = {
        **RefractoryLIF.example,
        "threshold": 0.6,
        "theta_decay": 0.9,
    }

    def __init__(
        self,
        beta: Any = 0.9900498337491681,
        threshold: Any = 13.0,
        reset_to: Any = 5.0,
        refractory_steps: int = 5,
        theta_plus: Any = 0.05,
        theta_decay: Any = 0.99999990000000495,
        theta_offset: Any = 0.0,
        learn_beta: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        super().__init__(beta, threshold, reset_to, refractory_steps, learn_beta, **options)
        adapt(self, theta_plus, theta_decay, theta_offset)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return RefractoryLIF.integrate(x, state, p)._replace(theta=p.theta_decay * state.theta)

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return unless_silent(state, state.mem - (p.threshold + state.theta - p.theta_offset), -1.0)

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        state = RefractoryLIF.settle(state, spk, p)
        return state._replace(theta=state.theta + p.theta_plus * spk)

    init_adaptive_threshold_lif = Neuron.reset_mem


def adapt(neuron: Neuron, theta_plus: Any, theta_decay: Any, theta_offset: Any) -> None:
    """Check and register what moves the threshold."""
    checks.in_range("theta_plus", theta_plus, 0.0, float("inf"), why="a spike raises the threshold")
    checks.in_range(
        "theta_decay",
        theta_decay,
        0.0,
        1.0,
        why="it is the fraction of theta that is left after a step",
    )
    checks.in_range("theta_offset", theta_offset, 0.0, float("inf"), why="it lowers the threshold")
    neuron.parameter("theta_plus", theta_plus)
    neuron.parameter("theta_decay", theta_decay)
    neuron.parameter("theta_offset", theta_offset)
