"""Leaky neurons with synaptic conductances: both cells of Diehl & Cook as published."""

from typing import Any, NamedTuple

from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from .adaptive_threshold_lif import AdaptiveThresholdLIF, adapt
from .refractory_lif import RefractoryLIF, unless_silent

__all__ = ["AdaptiveConductanceLIF", "ConductanceLIF"]


class ConductanceLIF(RefractoryLIF):
    r"""Leaky integrate-and-fire neuron whose input opens conductances, with a refractory period.

    .. math::
        g_e[t+1] = d_e g_e[t] + \max(I[t+1], 0) \qquad g_i[t+1] = d_i g_i[t] + \max(-I[t+1], 0) \\
        U[t+1] = U[t] + \lambda \left( -U[t] + g_e[t+1] (E_e - U[t]) + g_i[t+1] (E_i - U[t]) \right)
        \; (\text{not refractory})

    Positive input excites, negative input inhibits; where both arrive in one step, add one of them
    to the state before. Potentials are measured from rest; conductances, in units of the leak, go
    on while the neuron is refractory, and its membrane stays at the reset potential. The defaults
    are those of the inhibitory cell of Diehl & Cook with their step of 0.5 ms, in mV above the
    resting potential of -60 mV. The integration is Euler's; it is stable while ``leak * (1 + g_exc
    + g_inh) < 2``.

    Args:
        leak: step divided by the time constant of the membrane, in (0, 1].
        threshold: above rest, > 0.
        reset_to: membrane after a spike, below ``threshold``.
        refractory_steps: steps without integration after the step of a spike; >= 0.
        exc_reversal: reversal potential E_e of the excitatory conductance, above rest.
        inh_reversal: reversal potential E_i of the inhibitory one, above rest.
        exc_decay: fraction of g_e that is left after one step, in [0, 1].
        inh_decay: fraction of g_i that is left after one step, in [0, 1].
        **options: as for `RefractoryLIF`.

    Raises:
        ValueError: a fraction out of its range, a threshold <= 0, a reset potential not below it,
            or a negative period.

    Source: equations and constants from the code of Diehl & Cook (2015), Front. Comput. Neurosci.
    9:99.

    >>> import torch, spikeloom as snn
    >>> x = torch.zeros(12, 1, 1)
    >>> x[0] = 10.4  # one spike through their synapse from an excitatory cell
    >>> spk, mem, *_ = snn.ConductanceLIF(mode="sequence")(x)
    >>> spk.flatten().nonzero().flatten()
    tensor([0])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane above rest, [B, ...]
        refractory: Tensor  # steps of silence that are left, [B, ...]
        g_exc: Tensor  # excitatory conductance, [B, ...], in units of the leak
        g_inh: Tensor  # inhibitory conductance, likewise

    example = {
        "leak": 0.2,
        "threshold": 0.4,
        "reset_to": 0.1,
        "refractory_steps": 1,
        "exc_reversal": 2.0,
        "inh_reversal": -1.0,
    }

    def __init__(
        self,
        leak: Any = 0.05,
        threshold: Any = 20.0,
        reset_to: Any = 15.0,
        refractory_steps: int = 4,
        exc_reversal: Any = 60.0,
        inh_reversal: Any = -25.0,
        exc_decay: Any = 0.6065306597126334,
        inh_decay: Any = 0.7788007830714049,
        **options: Unpack[SpikeOptions],
    ) -> None:
        Neuron.__init__(self, threshold, reset_mechanism="potential", **options)
        checks.in_range(
            "leak", leak, 0.0, 1.0, open_low=True, why="it is a step divided by a time constant"
        )
        self.parameter("leak", leak)
        self._silence(threshold, reset_to, refractory_steps)
        self.parameter("exc_reversal", exc_reversal)
        self.parameter("inh_reversal", inh_reversal)
        for name, value in (("exc_decay", exc_decay), ("inh_decay", inh_decay)):
            checks.in_range(
                name, value, 0.0, 1.0, why="it is the fraction of a conductance left after one step"
            )
            self.parameter(name, value)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        g_exc = p.exc_decay * state.g_exc + x.clamp(min=0)
        g_inh = p.inh_decay * state.g_inh + (-x).clamp(min=0)
        change = (
            g_exc * (p.exc_reversal - state.mem) + g_inh * (p.inh_reversal - state.mem) - state.mem
        )
        return state._replace(
            mem=state.mem + unless_silent(state, p.leak * change), g_exc=g_exc, g_inh=g_inh
        )

    init_conductance_lif = Neuron.reset_mem


class AdaptiveConductanceLIF(ConductanceLIF):
    r"""`ConductanceLIF` with an adaptive threshold: the published excitatory cell of Diehl & Cook.

    .. math::
        \theta[t+1] = d_\theta \theta[t] + \theta_+ S[t+1] \qquad
        S[t+1] = H(U[t+1] - \vartheta - d_\theta \theta[t] + \theta_0)

    The defaults are theirs for a step of 0.5 ms, in mV above the resting potential of -65 mV. They
    start theta at 20 mV and subtract an offset of 20 mV: pass that state, or use
    `learning.DiehlAndCook2015`, which does.

    Args:
        leak, threshold, reset_to, refractory_steps, exc_reversal, inh_reversal, exc_decay,
            inh_decay: as for `ConductanceLIF`.
        theta_plus: rise of the threshold by a spike; >= 0.
        theta_decay: fraction of the rise that is left after one step, in [0, 1].
        theta_offset: subtracted from the threshold; >= 0.
        **options: as for `RefractoryLIF`.

    Raises:
        ValueError: as for `ConductanceLIF`, or one of theta's numbers out of its range.

    Source: equations and constants from the code of Diehl & Cook (2015), Front. Comput. Neurosci.
    9:99.

    >>> import torch, spikeloom as snn
    >>> lif = snn.AdaptiveConductanceLIF(theta_plus=1.0)
    >>> spk, mem, refractory, g_exc, g_inh, theta = lif(torch.full((1, 1), 60.0))
    >>> spk.item(), mem.item(), theta.item()
    (1.0, 0.0, 1.0)
    """

    class State(NamedTuple):
        mem: Tensor  # membrane above rest, [B, ...]
        refractory: Tensor  # steps of silence that are left, [B, ...]
        g_exc: Tensor  # excitatory conductance, [B, ...], in units of the leak
        g_inh: Tensor  # inhibitory conductance, likewise
        theta: Tensor  # rise of the threshold, [B, ...]

    example = {
        **ConductanceLIF.example,
        "theta_decay": 0.9,
    }

    def __init__(
        self,
        leak: Any = 0.005,
        threshold: Any = 13.0,
        reset_to: Any = 0.0,
        refractory_steps: int = 10,
        exc_reversal: Any = 65.0,
        inh_reversal: Any = -35.0,
        exc_decay: Any = 0.6065306597126334,
        inh_decay: Any = 0.7788007830714049,
        theta_plus: Any = 0.05,
        theta_decay: Any = 0.99999995000000125,
        theta_offset: Any = 0.0,
        **options: Unpack[SpikeOptions],
    ) -> None:
        super().__init__(
            leak=leak,
            threshold=threshold,
            reset_to=reset_to,
            refractory_steps=refractory_steps,
            exc_reversal=exc_reversal,
            inh_reversal=inh_reversal,
            exc_decay=exc_decay,
            inh_decay=inh_decay,
            **options,
        )
        adapt(self, theta_plus, theta_decay, theta_offset)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return ConductanceLIF.integrate(x, state, p)._replace(theta=p.theta_decay * state.theta)

    trigger = staticmethod(AdaptiveThresholdLIF.trigger)
    settle = staticmethod(AdaptiveThresholdLIF.settle)
    init_adaptive_conductance_lif = Neuron.reset_mem
