"""Hodgkin-Huxley neuron: the membrane of the squid giant axon with its two channels."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from ..core.reset import Keep

__all__ = ["HodgkinHuxley"]

_REST = -65.0  # of the convention, in mV
_NEAR = 1e-3  # below this a series replaces y / tanh(y)


class HodgkinHuxley(Neuron):
    r"""Hodgkin-Huxley neuron with the constants of the squid giant axon.

    .. math::
        C V' = I - g_{Na} m^3 h (V - E_{Na}) - g_K n^4 (V - E_K) - g_L (V - E_L) \\
        z' = \alpha_z(V) (1 - z) - \beta_z(V) z \qquad z \in \{m, h, n\}

    .. math::
        \alpha_m = \frac{0.1 (V + 40)}{1 - e^{-(V + 40)/10}} \quad
        \beta_m = 4 e^{-(V + 65)/18} \quad
        \alpha_h = 0.07 e^{-(V + 65)/20} \quad
        \beta_h = \frac{1}{1 + e^{-(V + 35)/10}} \\
        \alpha_n = \frac{0.01 (V + 55)}{1 - e^{-(V + 55)/10}} \quad
        \beta_n = 0.125 e^{-(V + 65)/80}

    Potentials are in today's convention: depolarisation is positive, rest is at -65 mV (the paper
    has rest at 0 and the other sign). Membrane and gates are integrated by the exponential Euler
    method, all from the state before the step. A spike is the step in which the membrane rises
    above ``threshold``; nothing is reset. It starts at -65 mV with the gates at their steady state.

    Args:
        capacitance: C, in uF/cm^2, > 0.
        g_na: greatest sodium conductance, in mS/cm^2, > 0.
        g_k: greatest potassium conductance, likewise.
        g_leak: leak conductance, likewise.
        e_na: reversal potential of sodium, in mV.
        e_k: reversal potential of potassium, in mV.
        e_leak: reversal potential of the leak, in mV.
        threshold: potential that counts as a spike, in mV, > 0.
        dt: step, in ms, > 0; 0.1 is the coarsest that keeps the shape of a spike.
        learn_parameters: make all but ``threshold`` and ``dt`` parameters.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: ``capacitance``, a conductance, ``threshold`` or ``dt`` is not positive.

    Source: Hodgkin & Huxley (1952), J. Physiol. 117, 500-544, table 3 and equations 12 to 26.

    >>> import torch, spikeloom as snn
    >>> cell = snn.HodgkinHuxley(mode="sequence")  # an input in uA/cm^2
    >>> spk, mem, *gates = cell(torch.full((2000, 1, 1), 10.0))
    >>> spk.flatten().nonzero().flatten() * 0.025  # ms
    tensor([ 2.0500, 17.2000, 32.0250, 46.8500])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane V, [B, ...], in mV
        m: Tensor  # activation of sodium, [B, ...], in [0, 1]
        h: Tensor  # inactivation of sodium, likewise
        n: Tensor  # activation of potassium, likewise
        before: Tensor  # membrane of the step before, in mV

    positive = ("threshold", "capacitance", "g_na", "g_k", "g_leak", "dt")
    resets = {"none": Keep()}
    example = {"dt": 0.1}
    example_gain = 200.0
    no_nir_node = "NIR has no channels; use Leaky or Synaptic"

    def __init__(
        self,
        capacitance: Any = 1.0,
        g_na: Any = 120.0,
        g_k: Any = 36.0,
        g_leak: Any = 0.3,
        e_na: Any = 50.0,
        e_k: Any = -77.0,
        e_leak: Any = -54.387,
        threshold: Any = 20.0,
        dt: Any = 0.025,
        learn_parameters: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        super().__init__(threshold, reset_mechanism="none", **options)
        checks.flags(type(self).__name__, learn_parameters=learn_parameters)
        self.learn_parameters = learn_parameters
        quantities = {
            "capacitance": capacitance,
            "g_na": g_na,
            "g_k": g_k,
            "g_leak": g_leak,
            "e_na": e_na,
            "e_k": e_k,
            "e_leak": e_leak,
            "dt": dt,
        }
        for name, value in quantities.items():
            if name in self.positive:
                checks.in_range(
                    name, value, 0.0, float("inf"), open_low=True, why="it is a physical quantity"
                )
            self.parameter(name, value, learn_parameters and name != "dt")

    def initial(self, x: Tensor) -> Any:
        state = super().initial(x)
        mem = state.mem + _REST
        gates = {name: opening / (opening + closing) for name, opening, closing in _rates(mem)}
        return state._replace(mem=mem, before=mem, **gates)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        mem = state.mem
        sodium = p.g_na * state.m * state.m * state.m * state.h
        potassium = p.g_k * (state.n * state.n) * (state.n * state.n)
        total = sodium + potassium + p.g_leak
        drive = sodium * p.e_na + potassium * p.e_k + p.g_leak * p.e_leak + x
        goal = drive / total
        gates = {}
        for name, opening, closing in _rates(mem):
            value = getattr(state, name)
            steady = opening / (opening + closing)
            gates[name] = steady + (value - steady) * torch.exp(-p.dt * (opening + closing))
        decay = torch.exp(-p.dt * total / p.capacitance)
        return state._replace(mem=goal + (mem - goal) * decay, before=mem, **gates)

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        over = (state.mem - p.threshold) / (p.threshold - _REST).abs()
        return torch.where(state.before > p.threshold, -1.0, over)

    init_hodgkin_huxley = Neuron.reset_mem


def _rates(mem: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """Name, opening rate and closing rate of each gate, in 1/ms."""
    return [
        ("m", _linear_exponential((mem + 40) / 10), 4 * torch.exp(-(mem + 65) / 18)),
        ("h", 0.07 * torch.exp(-(mem + 65) / 20), 1 / (1 + torch.exp(-(mem + 35) / 10))),
        ("n", 0.1 * _linear_exponential((mem + 55) / 10), 0.125 * torch.exp(-(mem + 65) / 80)),
    ]


def _linear_exponential(u: Tensor) -> Tensor:
    """``u / (1 - exp(-u))``, exact near 0 too."""
    y = u / 2
    small = y.abs() < _NEAR
    far = torch.where(small, 1.0, y)
    return torch.where(small, 1 + y + y * y / 3, far + far / torch.tanh(far))
