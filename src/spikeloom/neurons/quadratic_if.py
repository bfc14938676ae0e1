"""Quadratic integrate-and-fire neuron: the normal form of a cell that fires at any low rate."""

from typing import Any, NamedTuple

from torch import Tensor

from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from .physical import Physical

__all__ = ["QIF"]


class QIF(Physical):
    r"""Quadratic integrate-and-fire neuron.

    .. math::
        \tau V' = a (V - E)(V - V_c) + I \qquad V > \theta: \; V \leftarrow V_{reset}

    Integrated by Euler's method. With E = V_c = 0, a = 1 and peak and reset far away it fires at
    constant I > 0 with the period :math:`\pi \tau / \sqrt{I}`.

    Args:
        tau: time constant, in ms, > 0.
        rest: resting potential E.
        critical: potential V_c beyond which it fires without input.
        curvature: a, > 0.
        reset_to: membrane after a spike, below ``threshold``.
        threshold: the peak, > 0, in the unit of the membrane.
        dt: step, in ms, > 0.
        learn_parameters: make all but ``threshold`` and ``dt`` parameters.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: ``tau``, ``curvature``, ``threshold`` or ``dt`` is not positive, or ``reset_to``
            is not below ``threshold``.

    Source: Gerstner, Kistler, Naud & Paninski (2014), Neuronal Dynamics, section 5.3.

    >>> import torch, spikeloom as snn
    >>> spk, mem = snn.QIF(mode="sequence")(torch.full((60, 1, 1), 1.0))
    >>> spk.flatten().nonzero().flatten()
    tensor([23, 47])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane V, [B, ...]

    positive = ("threshold", "tau", "curvature", "dt")
    example = {"tau": 3.0}
    example_gain = 2.0
    no_nir_node = "NIR has no quadratic neuron; use Leaky"

    def __init__(
        self,
        tau: Any = 10.0,
        rest: Any = 0.0,
        critical: Any = 1.0,
        curvature: Any = 1.0,
        reset_to: Any = 0.0,
        threshold: Any = 5.0,
        dt: Any = 1.0,
        learn_parameters: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        quantities = {
            "tau": tau,
            "rest": rest,
            "critical": critical,
            "curvature": curvature,
            "reset_to": reset_to,
            "dt": dt,
        }
        super().__init__(threshold, quantities, learn_parameters, **options)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        change = p.curvature * (state.mem - p.rest) * (state.mem - p.critical) + x
        return state._replace(mem=state.mem + p.dt / p.tau * change)

    init_qif = Neuron.reset_mem
