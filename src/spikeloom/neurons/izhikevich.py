"""Izhikevich's neuron: two equations for the firing patterns of cortical cells."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from .physical import Physical

__all__ = ["Izhikevich"]


class Izhikevich(Physical):
    r"""Izhikevich's neuron of 2003, integrated as in its published program.

    .. math::
        v' = 0.04 v^2 + 5 v + 140 - u + I \qquad u' = a (b v - u) \\
        v > 30: \quad v \leftarrow c, \; u \leftarrow u + d

    The membrane takes two half steps, as the published program does for the sake of stability, and
    the recovery then one whole step. The defaults are those of a regular spiking cell; intrinsic
    bursting: ``c=-55, d=4``; chattering: ``c=-50, d=2``; fast spiking: ``a=0.1, d=2``; low
    threshold: ``b=0.25, d=2``.

    Args:
        a: rate of the recovery, per ms.
        b: how strongly the recovery follows the membrane, per ms.
        c: membrane after a spike, in mV, below ``threshold``.
        d: what a spike adds to the recovery, in mV/ms.
        threshold: the peak, in mV, > 0.
        rest: membrane at the start, in mV; the recovery starts at ``b * rest``.
        dt: step, in ms, > 0.
        learn_parameters: make a, b, c, d and ``rest`` parameters.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: ``dt`` or ``threshold`` is not positive, or ``c`` is not below ``threshold``.

    Source: Izhikevich (2003), IEEE Trans. Neural Networks 14, 1569-1572, with its program.

    >>> import torch, spikeloom as snn
    >>> spk, mem, recovery = snn.Izhikevich(mode="sequence")(torch.full((200, 1, 1), 10.0))
    >>> spk.flatten().nonzero().flatten()
    tensor([  3,  30,  78, 140, 194])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane v, [B, ...], in mV
        recovery: Tensor  # u, [B, ...], in mV/ms

    positive = ("threshold", "dt")
    after_spike = "c"
    b: Tensor
    example_gain = 20.0
    no_nir_node = "NIR has no quadratic neuron; use Leaky or Synaptic"

    def __init__(
        self,
        a: Any = 0.02,
        b: Any = 0.2,
        c: Any = -65.0,
        d: Any = 8.0,
        threshold: Any = 30.0,
        rest: Any = -65.0,
        dt: Any = 1.0,
        learn_parameters: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        quantities = {"a": a, "b": b, "c": c, "d": d, "rest": rest, "dt": dt}
        super().__init__(threshold, quantities, learn_parameters, **options)

    def initial(self, x: Tensor) -> Any:
        state = super().initial(x)
        return state._replace(recovery=self.b.to(state.mem.dtype) * state.mem)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        mem = state.mem
        for _ in range(2):
            change = 0.04 * mem.square() + 5 * mem + 140 - state.recovery + x
            mem = mem + 0.5 * p.dt * change
        recovery = state.recovery + p.dt * p.a * (p.b * mem - state.recovery)
        return state._replace(mem=mem, recovery=recovery)

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        fired = spk != 0
        return state._replace(
            mem=torch.where(fired, p.c, state.mem),
            recovery=torch.where(fired, state.recovery + p.d, state.recovery),
        )

    init_izhikevich = Neuron.reset_mem
