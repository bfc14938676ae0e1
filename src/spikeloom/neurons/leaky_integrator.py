"""Leaky integrator: a readout that reports its membrane and never fires."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.decays import time_constant
from ..core.neuron import Neuron
from ..core.options import CallOptions, Unpack
from ..core.reset import Keep
from ..core.surrogate import Surrogate
from .leaky import Leaky

__all__ = ["LI"]


@dataclass(frozen=True)
class _Membrane(Surrogate):
    """Passes the membrane on in the place of spikes."""

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def primitive(self, x: Tensor) -> Tensor:
        return x

    def derivative(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


class LI(Neuron):
    r"""Leaky integrator, for the last layer of a regression or of a classifier on membranes.

    .. math:: U[t+1] = \beta U[t] + I[t+1]

    Its output is the membrane, so that it replaces a spiking neuron anywhere: ``out, mem = li(x,
    mem)`` with ``out`` equal to ``mem``, and with ``init_hidden=True`` just ``mem = li(x)``.
    It has no threshold (infinity in ``state_dict``) and no reset. Not in snnTorch, where
    ``Leaky(reset_mechanism="none")`` plays its role.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        learn_beta: make ``beta`` a parameter; it is clamped to [0, 1] in the equation.
        state_quant: a function applied to the membrane.
        **options: ``init_hidden`` (the output is the membrane only), ``output`` (``(mem, mem)``
            all the same) and ``mode``, as for `Neuron`.

    Raises:
        ValueError: ``beta`` outside [0, 1].

    Source: Gerstner et al. (2014), Neuronal Dynamics, section 1.3.

    >>> import torch, spikeloom as snn
    >>> snn.LI(beta=0.5, init_hidden=True, mode="sequence")(torch.ones(3, 1, 1)).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in the unit of the input

    spiking = False
    resets = {"none": Keep()}
    is_linear = True
    example = {"beta": 0.9}

    def __init__(
        self,
        beta: Any,
        learn_beta: bool = False,
        state_quant: Any = False,
        **options: Unpack[CallOptions],
    ) -> None:
        super().__init__(
            float("inf"),
            _Membrane(),
            reset_mechanism="none",
            state_quant=state_quant,
            **options,
        )
        self.decay_parameter("beta", beta, learn_beta)

    integrate = staticmethod(Leaky.integrate)

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return state.mem

    @staticmethod
    def nir_node(p: Mapping[str, Any], dt: float) -> tuple[str, dict[str, Any]]:
        """Return an LI, or an I where no neuron leaks."""
        beta = p["beta"].clip(0, 1)
        if (beta == 1).all():
            return "I", {"r": beta / dt}
        tau = time_constant(beta, dt)
        return "LI", {"tau": tau, "r": tau / dt, "v_leak": 0 * beta}

    init_li = Neuron.reset_mem
