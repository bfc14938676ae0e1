"""Exponential integrate-and-fire neurons: membrane with spike upstroke, optionally adaptive."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from .physical import Physical

__all__ = ["EIF", "AdEx"]


def upstroke(state: Any, p: Any) -> Tensor:
    """Drive of the spike, in mV: sharpness * exp((mem - rheobase) / sharpness).

    The exponent is bounded: at e^20 the next step passes any peak, and larger ones overflow.
    """
    return p.sharpness * torch.exp(((state.mem - p.rheobase) / p.sharpness).clamp(max=20.0))


class EIF(Physical):
    r"""Exponential integrate-and-fire neuron.

    .. math::
        \tau V' = -(V - E) + \Delta \, e^{(V - V_T) / \Delta} + I \qquad
        V > \theta: \; V \leftarrow V_{reset}

    Integrated by Euler's method.

    Args:
        tau: time constant of the membrane, in ms, > 0.
        rest: resting potential E, in mV.
        rheobase: potential V_T at which the upstroke begins, in mV.
        sharpness: width Delta of the upstroke, in mV, > 0.
        reset_to: membrane after a spike, in mV, below ``threshold``.
        threshold: the peak, in mV, > 0.
        dt: step, in ms, > 0.
        learn_parameters: make all but ``threshold`` and ``dt`` parameters.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: ``tau``, ``sharpness``, ``threshold`` or ``dt`` is not positive, or ``reset_to``
            is not below ``threshold``.

    Source: Fourcaud-Trocme, Hansel, van Vreeswijk & Brunel (2003), J. Neurosci. 23, 11628-11640.

    >>> import torch, spikeloom as snn
    >>> spk, mem = snn.EIF(mode="sequence")(torch.full((400, 1, 1), 20.0))
    >>> spk.flatten().nonzero().flatten()
    tensor([ 73, 161, 249, 337])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane V, [B, ...], in mV

    positive = ("threshold", "tau", "sharpness", "dt")
    example = {"dt": 1.0}
    example_gain = 40.0
    no_nir_node = "NIR has no exponential neuron; use Leaky"

    def __init__(
        self,
        tau: Any = 10.0,
        rest: Any = -65.0,
        rheobase: Any = -59.9,
        sharpness: Any = 3.48,
        reset_to: Any = -68.0,
        threshold: Any = 20.0,
        dt: Any = 0.1,
        learn_parameters: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        quantities = {
            "tau": tau,
            "rest": rest,
            "rheobase": rheobase,
            "sharpness": sharpness,
            "reset_to": reset_to,
            "dt": dt,
        }
        super().__init__(threshold, quantities, learn_parameters, **options)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        change = p.rest - state.mem + upstroke(state, p) + x
        return state._replace(mem=state.mem + p.dt / p.tau * change)

    init_eif = Neuron.reset_mem


class AdEx(Physical):
    r"""Adaptive exponential integrate-and-fire neuron.

    .. math::
        C V' = -g (V - E) + g \Delta \, e^{(V - V_T) / \Delta} - w + I \qquad
        \tau_w w' = a (V - E) - w \\
        V > \theta: \quad V \leftarrow V_{reset}, \; w \leftarrow w + b

    Integrated by Euler's method, both equations from the state before the step.

    Args:
        capacitance: C, in pF, > 0.
        leak: conductance g, in nS, > 0.
        rest: resting potential E, in mV.
        rheobase: potential V_T at which the upstroke begins, in mV.
        sharpness: width Delta of the upstroke, in mV, > 0.
        tau_w: time constant of the adaptation, in ms, > 0.
        a: how the membrane drives the adaptation, in nS.
        b: what a spike adds to the adaptation, in pA.
        reset_to: membrane after a spike, in mV, below ``threshold``.
        threshold: the peak, in mV, > 0.
        dt: step, in ms, > 0.
        learn_parameters: make all but ``threshold`` and ``dt`` parameters.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: ``capacitance``, ``leak``, ``sharpness``, ``tau_w``, ``threshold`` or ``dt`` is
            not positive, or ``reset_to`` is not below ``threshold``.

    Source: Brette & Gerstner (2005), J. Neurophysiol. 94, 3637-3642; its constants.

    >>> import torch, spikeloom as snn
    >>> spk, mem, adapt = snn.AdEx(mode="sequence")(torch.full((2000, 1, 1), 1000.0))
    >>> spk.flatten().nonzero().flatten()
    tensor([ 120,  259,  421,  610,  832, 1090, 1383, 1704])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane V, [B, ...], in mV
        adapt: Tensor  # adaptation w, [B, ...], in pA

    positive = ("threshold", "capacitance", "leak", "sharpness", "tau_w", "dt")
    example = {"dt": 1.0}
    example_gain = 2000.0
    no_nir_node = "NIR has no exponential neuron and no adaptation; use Leaky or Synaptic"

    def __init__(
        self,
        capacitance: Any = 281.0,
        leak: Any = 30.0,
        rest: Any = -70.6,
        rheobase: Any = -50.4,
        sharpness: Any = 2.0,
        tau_w: Any = 144.0,
        a: Any = 4.0,
        b: Any = 80.5,
        reset_to: Any = -70.6,
        threshold: Any = 20.0,
        dt: Any = 0.1,
        learn_parameters: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        quantities = {
            "capacitance": capacitance,
            "leak": leak,
            "rest": rest,
            "rheobase": rheobase,
            "sharpness": sharpness,
            "tau_w": tau_w,
            "a": a,
            "b": b,
            "reset_to": reset_to,
            "dt": dt,
        }
        super().__init__(threshold, quantities, learn_parameters, **options)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        above = state.mem - p.rest
        current = p.leak * (upstroke(state, p) - above) - state.adapt + x
        return state._replace(
            mem=state.mem + p.dt / p.capacitance * current,
            adapt=state.adapt + p.dt / p.tau_w * (p.a * above - state.adapt),
        )

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        raised = torch.where(spk != 0, state.adapt + p.b, state.adapt)
        return Physical.settle(state, spk, p)._replace(adapt=raised)

    init_adex = Neuron.reset_mem
