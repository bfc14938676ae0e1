"""First-order leaky integrate-and-fire neuron, and the base of those whose membrane decays."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..core.decays import time_constant, unit
from ..core.neuron import Neuron
from ..core.reset import Keep, Subtract, ZeroBefore, ZeroBeforeAttached

__all__ = ["LIF", "Leaky"]


class LIF(Neuron):
    """Base of the leaky neurons: a `Neuron` with ``beta``, in snnTorch's order of arguments.

    A subclass declares ``State`` and ``integrate`` as those of `Neuron` do, or, as in snnTorch, its
    own ``forward``.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        learn_beta: make it a parameter.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``beta`` outside [0, 1].

    >>> import torch
    >>> class Doubled(LIF):
    ...     def forward(self, input_):
    ...         return self.fire(2 * self.beta * input_)
    >>> Doubled(beta=0.5)(torch.tensor([0.5, 1.5]))
    tensor([0., 1.])
    """

    beta: Tensor

    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        *,
        mode: str = "step",
    ) -> None:
        super().__init__(
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            inhibition=inhibition,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
            state_quant=state_quant,
            output=output,
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            reset_delay=reset_delay,
            mode=mode,
        )
        self._lif_register_buffer(beta, learn_beta)
        self._adopt("beta")
        self._made()

    def _made(self) -> None:
        """Called at the end of the constructor: for classes that have none of their own."""

    def _lif_register_buffer(self, beta: Any, learn_beta: bool) -> None:
        self._beta_buffer(beta, learn_beta)

    def _beta_buffer(self, beta: Any, learn_beta: bool) -> None:
        self.decay_parameter("beta", beta, learn_beta)

    def _V_register_buffer(self, V: Any, learn_V: bool) -> None:
        """Register a feedback weight, for copies of snnTorch's recurrent neurons."""
        self.parameter("V", V, learn_V)


class Leaky(LIF):
    r"""Leaky integrate-and-fire neuron with an exponentially decaying membrane.

    .. math::
        U[t+1] = \beta U[t] + I[t+1] - R[t] \theta \qquad S[t+1] = H(U[t+1] - \theta) \qquad
        R[t] = H(U[t] - \theta)

    with ``reset_mechanism="subtract"``; ``"zero"``: ``U[t+1] = beta (1 - R[t]) U[t] + I[t+1]``;
    ``"none"``: no reset. The reset signal carries no gradient, but with ``"zero_attached"`` (the
    iterative neuron of STBP): as ``"zero"``, with the gradient of the spike. beta is clamped to [0,
    1] in the equation, so that learning cannot leave it.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        learn_beta: make it a parameter.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``beta`` outside [0, 1].

    Source: Eshraghian et al. (2023), Proc. IEEE 111, 1016-1054, section III.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(beta=0.5)
    >>> mem = lif.init_leaky()
    >>> for _ in range(2):
    ...     spk, mem = lif(torch.tensor([[0.8]]), mem)
    >>> spk, mem
    (tensor([[1.]]), tensor([[1.2000]]))
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in the unit of the threshold

    resets = {
        "subtract": Subtract(),
        "zero": ZeroBefore(),
        "none": Keep(),
        "zero_attached": ZeroBeforeAttached(),
    }
    is_linear = True
    example = {"beta": 0.9}

    def _made(self) -> None:
        self._init_mem()

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=unit(p.beta) * state.mem + x)

    @staticmethod
    def nir_node(p: Mapping[str, Any], dt: float) -> tuple[str, dict[str, Any]]:
        """Return a LIF with Euler's time constant, or an IF where no neuron leaks."""
        beta = p["beta"].clip(0, 1)
        threshold = p["threshold"]
        reset_to = p.get("reset_to", 0 * threshold)
        if (beta == 1).all():
            return "IF", {"r": beta / dt, "v_threshold": threshold, "v_reset": reset_to}
        tau = time_constant(beta, dt)
        return "LIF", {
            "tau": tau,
            "r": tau / dt,
            "v_leak": 0 * beta,
            "v_threshold": threshold,
            "v_reset": reset_to,
        }

    init_leaky = LIF.reset_mem
