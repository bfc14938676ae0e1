"""Generalised leaky integrate-and-fire neurons of the Allen Institute, in five levels."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.numbers import whole
from ..core.options import SpikeOptions, Unpack
from .refractory_lif import Potential, unless_silent

__all__ = ["GLIF"]

_INFINITE = float("inf")
_RANGES = {  # of the parameters
    "fraction": (0.0, 1.0),
    "offset": (0.0, _INFINITE),
    "spike_rise": (0.0, _INFINITE),
    "spike_decay": (0.0, _INFINITE),
    "jump_1": (-_INFINITE, _INFINITE),
    "jump_2": (-_INFINITE, _INFINITE),
    "decay_1": (0.0, _INFINITE),
    "decay_2": (0.0, _INFINITE),
    "drive": (-_INFINITE, _INFINITE),
    "drive_decay": (0.0, _INFINITE),
}
_LEVELS = {  # at which a mechanism acts; elsewhere its parameters are 0
    (2, 4, 5): ("fraction", "offset", "spike_rise"),
    (3, 4, 5): ("jump_1", "jump_2"),
    (5,): ("drive",),
}


class GLIF(Neuron):
    r"""Generalised leaky integrate-and-fire neuron of one of five levels.

    .. math::
        C V' = I + I_1 + I_2 - g V \qquad I_j' = -k_j I_j \qquad
        \theta_s' = -b_s \theta_s \qquad \theta_v' = a_v V - b_v \theta_v \\
        V > \theta + \theta_s + \theta_v: \quad V \leftarrow f_v V - \delta_V, \;
        I_j \leftarrow I_j + \delta I_j, \; \theta_s \leftarrow \theta_s + \delta\theta_s

    Level 1 is a leaky integrate-and-fire neuron that resets to 0. Level 2 adds the reset rule (f_v,
    delta_V) and the rise of the threshold by a spike. Level 3 adds currents after a spike to level
    1, level 4 adds them to level 2. Level 5 adds a threshold that follows the membrane. Parameters
    of what a level lacks are 0. The membrane is measured from rest; membrane and theta_v wait
    during the refractory period. They are integrated by Euler's method, the decays exactly. The
    defaults are round numbers; those of a cell come from the Allen Cell Types Database.

    Args:
        level: 1 to 5.
        capacitance: C, in pF, > 0.
        leak: conductance g, in nS, > 0.
        threshold: theta, in mV above rest, > 0.
        refractory_steps: steps without integration after the step of a spike; >= 0.
        fraction: f_v, in [0, 1]; levels 2, 4 and 5.
        offset: delta_V, in mV, >= 0; levels 2, 4 and 5.
        spike_rise: delta theta_s, in mV, >= 0; levels 2, 4 and 5.
        spike_decay: b_s, per ms, >= 0.
        jump_1: delta I_1, in pA; levels 3 to 5.
        jump_2: delta I_2, in pA; levels 3 to 5.
        decay_1: k_1, per ms, >= 0.
        decay_2: k_2, per ms, >= 0.
        drive: a_v, per ms; level 5.
        drive_decay: b_v, per ms, >= 0.
        dt: step, in ms, > 0.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: ``level`` is not 1 to 5, or a quantity is out of its range.

    Source: Teeter et al. (2018), Nat. Commun. 9, 709; the currents after a spike add to what is
    left of earlier ones.

    >>> import torch, spikeloom as snn
    >>> x = torch.full((300, 1, 1), 300.0)
    >>> [int(snn.GLIF(level, mode="sequence")(x)[0].sum()) for level in range(1, 6)]
    [30, 23, 23, 20, 18]
    """

    class State(NamedTuple):
        mem: Tensor  # membrane V above rest, [B, ...], in mV
        refractory: Tensor  # steps of silence that are left, [B, ...]
        current_1: Tensor  # current I_1 after spikes, [B, ...], in pA
        current_2: Tensor  # current I_2, likewise
        theta_s: Tensor  # rise of the threshold by spikes, [B, ...], in mV
        theta_v: Tensor  # rise of the threshold by the membrane, [B, ...], in mV

    resets = {"potential": Potential()}
    positive = ("threshold", "capacitance", "leak", "dt")
    example = {"refractory_steps": 1, "dt": 2.0}
    example_gain = 1000.0
    no_nir_node = "NIR has no threshold that moves; use Leaky or Synaptic"

    def __init__(
        self,
        level: int = 5,
        capacitance: Any = 100.0,
        leak: Any = 5.0,
        threshold: Any = 20.0,
        refractory_steps: int = 2,
        fraction: Any = 0.3,
        offset: Any = 2.0,
        spike_rise: Any = 3.0,
        spike_decay: Any = 0.02,
        jump_1: Any = -20.0,
        jump_2: Any = -10.0,
        decay_1: Any = 0.03,
        decay_2: Any = 0.1,
        drive: Any = 0.005,
        drive_decay: Any = 0.02,
        dt: Any = 1.0,
        **options: Unpack[SpikeOptions],
    ) -> None:
        level = whole("level", level, 1, 5)
        checks.in_range(
            "refractory_steps", refractory_steps, 0, _INFINITE, why="it is a number of steps"
        )
        quantities = {"capacitance": capacitance, "leak": leak, "dt": dt}
        mechanisms = {
            "fraction": fraction,
            "offset": offset,
            "spike_rise": spike_rise,
            "spike_decay": spike_decay,
            "jump_1": jump_1,
            "jump_2": jump_2,
            "decay_1": decay_1,
            "decay_2": decay_2,
            "drive": drive,
            "drive_decay": drive_decay,
        }
        why = "it is a physical quantity"
        for name, value in quantities.items():
            checks.in_range(name, value, 0.0, _INFINITE, open_low=True, why=why)
        for name, value in mechanisms.items():
            checks.in_range(name, value, *_RANGES[name], why=why)
        for levels, names in _LEVELS.items():
            if level not in levels:
                mechanisms |= dict.fromkeys(names, 0.0)
        super().__init__(threshold, reset_mechanism="potential", **options)
        self.level = level
        for name, value in (quantities | mechanisms).items():
            self.parameter(name, value)
        self.parameter("refractory_steps", refractory_steps)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        """Membrane and theta_v step from the state before; currents act while they decay."""
        current = x + state.current_1 + state.current_2 - p.leak * state.mem
        rise = p.drive * state.mem - p.drive_decay * state.theta_v
        return state._replace(
            mem=state.mem + unless_silent(state, p.dt / p.capacitance * current),
            current_1=torch.exp(-p.decay_1 * p.dt) * state.current_1,
            current_2=torch.exp(-p.decay_2 * p.dt) * state.current_2,
            theta_s=torch.exp(-p.spike_decay * p.dt) * state.theta_s,
            theta_v=state.theta_v + unless_silent(state, p.dt * rise),
        )

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        over = state.mem - p.threshold - state.theta_s - state.theta_v
        # noise may shift the threshold below 0, which must not turn the sign
        return unless_silent(state, over / p.threshold.abs(), -1.0)

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        fired = spk != 0
        one = fired.to(state.mem.dtype)
        left = (state.refractory - 1).clamp(min=0)
        return state._replace(
            mem=torch.where(fired, p.fraction * state.mem - p.offset, state.mem),
            refractory=torch.where(fired, p.refractory_steps, left),
            current_1=state.current_1 + p.jump_1 * one,
            current_2=state.current_2 + p.jump_2 * one,
            theta_s=state.theta_s + p.spike_rise * one,
        )

    init_glif = Neuron.reset_mem
