"""Leaky integrator: a readout that reports its membrane and never fires."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.decays import unit
from ..core.neuron import Neuron
from ..core.reset import Keep, Reset
from ..core.surrogate import Surrogate

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

    Its output is the membrane, so that it stands wherever a spiking neuron may stand: ``out, mem =
    li(x, mem)`` with ``out`` equal to ``mem``, and with ``init_hidden=True`` just ``mem = li(x)``.
    It has no threshold (infinity in ``state_dict``) and no reset. Not in snnTorch, where
    ``Leaky(reset_mechanism="none")`` plays its role.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        init_hidden: the neuron keeps its state and returns the membrane only.
        learn_beta: make ``beta`` a parameter; it is clamped to [0, 1] in the equation.
        state_quant: a function applied to the membrane.
        output: return ``(mem, mem)`` although ``init_hidden=True``.
        mode: ``"step"`` or ``"sequence"``.

    Raises:
        ValueError: ``beta`` outside [0, 1].

    Source: Gerstner et al. (2014), Neuronal Dynamics, section 1.3.

    >>> import torch, spikeloom as snn
    >>> snn.LI(beta=0.5, init_hidden=True, mode="sequence")(torch.ones(3, 1, 1)).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in the unit of the input

    spiking: ClassVar[bool] = False
    resets: ClassVar[Mapping[str, Reset]] = {"none": Keep()}
    example: ClassVar[dict[str, Any]] = {"beta": 0.9}

    def __init__(
        self,
        beta: Any,
        init_hidden: bool = False,
        learn_beta: bool = False,
        state_quant: Any = False,
        output: bool = False,
        *,
        mode: str = "step",
    ) -> None:
        checks.in_range(
            "beta",
            beta,
            0.0,
            1.0,
            why="it is the fraction of the membrane that is left after one step",
        )
        super().__init__(
            float("inf"),
            _Membrane(),
            init_hidden=init_hidden,
            reset_mechanism="none",
            state_quant=state_quant,
            output=output,
            mode=mode,
        )
        self.decay("beta", beta, learn_beta)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=unit(p.beta) * state.mem + x)

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return state.mem

    init_li = Neuron.reset_mem
