"""Adaptive leaky neuron: a second variable pulls the membrane down, and can make it resonate."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from ..core.decays import unit
from ..core.neuron import Neuron
from ..core.options import CommonOptions, Unpack
from ..core.reset import Keep, Subtract, Zero

__all__ = ["AdLIF"]


@dataclass(frozen=True)
class _CutZero(Zero):
    """As in the authors' code, the reset carries no gradient, even in the step of the spike."""

    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        return super().clear(state, s.detach(), p)


@dataclass(frozen=True)
class _CutSubtract(Subtract):
    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        return super().clear(state, s.detach(), p)


class AdLIF(Neuron):
    r"""Adaptive leaky integrate-and-fire neuron in the symplectic Euler form.

    .. math::
        \hat U[t] = \alpha U[t-1] + (1 - \alpha) (I[t] - W[t-1]) \qquad
        S[t] = H(\hat U[t] - \theta) \\
        U[t] = \hat U[t] (1 - S[t]) \qquad W[t] = \beta W[t-1] + (1 - \beta) (a U[t] + b S[t])

    The adaptation W reads the membrane of the same step, after its reset. That is what keeps the
    neuron stable over the whole range of its parameters, where the plain Euler form is not. Not in
    snnTorch; unlike in its neurons the reset is to zero and in the step of the spike by default,
    and the input is scaled by 1 - alpha.

    The authors draw ``a`` from [0, 1] and ``b`` from [0, 2] and multiply both by 60; here the
    factor is part of them.

    Args:
        alpha: decay of the membrane per step, exp(-dt / tau_u), in [0, 1]; a scalar or one value
            for each neuron.
        beta: decay of the adaptation per step, exp(-dt / tau_w), likewise.
        a: how the membrane drives the adaptation; > 0 makes the neuron resonate.
        b: how a spike drives the adaptation; > 0 makes it fire less and less.
        learn_alpha: make ``alpha`` a parameter; alpha and beta are clamped to [0, 1] in the
            equation.
        learn_beta: make ``beta`` a parameter.
        learn_a: make ``a`` a parameter.
        learn_b: make ``b`` a parameter.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``alpha`` or ``beta`` outside [0, 1].

    Source: Baronig et al. (2025), Nat. Commun. (arXiv:2408.07517), and the authors' code for the
    gradient of the reset.

    >>> import torch, spikeloom as snn
    >>> spk, mem, adapt = snn.AdLIF(threshold=0.5, mode="sequence")(torch.full((40, 1, 1), 2.0))
    >>> spk.flatten().nonzero().flatten()
    tensor([ 2,  6, 10, 15, 20, 26, 33])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential U, [B, ...], in the unit of the threshold
        adapt: Tensor  # adaptation W, [B, ...], in the unit of the input

    resets = {
        "subtract": _CutSubtract(),
        "zero": _CutZero(),
        "none": Keep(),
    }
    example = {"threshold": 0.2}
    no_nir_node = "NIR has no adaptation; use Leaky or Synaptic"

    def __init__(
        self,
        alpha: Any = 0.9,
        beta: Any = 0.98,
        a: Any = 0.5,
        b: Any = 10.0,
        threshold: Any = 1.0,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_a: bool = False,
        learn_b: bool = False,
        **options: Unpack[CommonOptions],
    ) -> None:
        options.setdefault("reset_mechanism", "zero")
        options.setdefault("reset_delay", False)
        super().__init__(threshold, **options)
        self.decay_parameter("alpha", alpha, learn_alpha)
        self.decay_parameter("beta", beta, learn_beta, of="adaptation")
        self.parameter("a", a, learn_a)
        self.parameter("b", b, learn_b)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        alpha = unit(p.alpha)
        return state._replace(mem=alpha * state.mem + (1 - alpha) * (x - state.adapt))

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        beta = unit(p.beta)
        return state._replace(adapt=beta * state.adapt + (1 - beta) * (p.a * state.mem + p.b * spk))

    init_adlif = Neuron.reset_mem
