"""Alpha neuron: the membrane is a difference of two exponentially filtered inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.decays import unit
from ..core.options import AddedOptions, Unpack
from ..core.reset import Keep, Reset, ZeroAll
from .leaky import LIF

__all__ = ["Alpha"]


@dataclass(frozen=True)
class _SubtractAlpha(Reset):
    """Subtract threshold from ``syn_exc``, clear ``syn_inh``, add its old value to ``mem``."""

    def clear(self, state: Any, s: Tensor, p: Any) -> Any:
        raise ValueError(
            "Alpha subtracts one step after the spike; with reset_delay=False write "
            'reset_mechanism="zero"'
        )

    def advance(
        self, integrate: Callable[..., Any], x: Tensor, state: Any, s: Tensor, p: Any
    ) -> Any:
        new = integrate(x, state, p)
        return new._replace(
            syn_exc=new.syn_exc - s * p.threshold,
            syn_inh=new.syn_inh - s * new.syn_inh,
            mem=new.mem + s * state.syn_inh,
        )


class Alpha(LIF):
    r"""Spike response neuron with an alpha-like kernel, a difference of two exponentials.

    .. math::
        A[t+1] = \alpha A[t] + I[t+1] \qquad B[t+1] = \beta B[t] - I[t+1] \qquad
        U[t+1] = \tau (A[t+1] + B[t+1])
        \qquad \tau = \frac{\ln\alpha}{\ln\beta - \ln\alpha} + 1

    A spike clears all three (``reset_mechanism="zero"``, the default). ``"subtract"`` takes the
    threshold from A and clears B, whose old value U receives; ``"none"``: no reset. U itself has no
    memory: a membrane that is passed only decides on the reset. ``learn_alpha=True`` works, unlike
    in snnTorch. Learned alpha and beta are clamped to [0, 1]; keep them apart, as the kernel is
    singular where they meet.

    Args:
        alpha: decay of the excitatory current per step, in (beta, 1]; a scalar or one value for
            each neuron.
        beta: decay of the inhibitory current per step, in [0, alpha), > 0 if it learns; likewise.
        learn_alpha: make ``alpha`` a parameter.
        learn_beta: make ``beta`` a parameter. (The other arguments are those of `Neuron`. There is
        no ``reset_delay``: the reset is always delayed.)

    Raises:
        ValueError: ``alpha`` or ``beta`` out of range, or ``alpha`` not greater than ``beta``.

    Source: Eshraghian et al. (2023), Proc. IEEE 111, 1016-1054.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.Alpha(alpha=0.9, beta=0.5, threshold=2.0)
    >>> syn_exc, syn_inh, mem = neuron.init_alpha()
    >>> for x in (1.0, 0.0, 0.0):
    ...     spk, syn_exc, syn_inh, mem = neuron(torch.tensor([[x]]), syn_exc, syn_inh, mem)
    ...     print(f"{mem.item():.3f}")
    0.000
    0.472
    0.660
    """

    class State(NamedTuple):
        syn_exc: Tensor  # excitatory current, [B, ...], in the unit of the input
        syn_inh: Tensor  # inhibitory current, <= 0 for positive input
        mem: Tensor  # membrane potential, in the unit of the threshold

    resets = {
        "subtract": _SubtractAlpha(),
        "zero": ZeroAll(),
        "none": Keep(),
    }
    no_nir_node = (
        "its membrane is a difference of two filtered inputs, of which NIR neurons have one; "
        "use Synaptic"
    )
    example = {"alpha": 0.9, "beta": 0.6, "threshold": 0.3}

    def __init__(
        self,
        alpha: Any,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "zero",
        state_quant: Any = False,
        output: bool = False,
        **options: Unpack[AddedOptions],
    ) -> None:
        checks.in_range(
            "alpha", alpha, 0.0, 1.0, open_low=True, why="the membrane reads its logarithm"
        )
        checks.in_range(
            "beta", beta, 0.0, 1.0, open_low=learn_beta, open_high=True, why="it is less than alpha"
        )
        slower = torch.as_tensor(alpha) > torch.as_tensor(beta)
        if slower.device.type != "meta" and not bool(slower.all()):
            raise ValueError(
                f"Alpha needs alpha > beta everywhere, got alpha={alpha}, beta={beta}; "
                "alpha is the slow excitatory decay, e.g. Alpha(alpha=0.9, beta=0.8)"
            )
        super().__init__(
            beta,
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            inhibition=inhibition,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
            state_quant=state_quant,
            output=output,
            **options,
        )
        self._alpha_register_buffer(alpha, learn_alpha)
        self._adopt("alpha")
        self._init_mem()

    def _alpha_register_buffer(self, alpha: Any, learn_alpha: bool) -> None:
        self.decay_parameter("alpha", alpha, learn_alpha)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        alpha, beta = unit(p.alpha), unit(p.beta)
        tau = _tau(alpha, beta)
        exc, inh = alpha * state.syn_exc + x, beta * state.syn_inh - x
        return state._replace(syn_exc=exc, syn_inh=inh, mem=tau * (exc + inh))

    def inspect_together(self) -> None:
        """Raise where alpha meets beta, or one of them 0: the kernel is singular there."""
        p = self.params(torch.float64)
        alpha, beta = p.alpha.clamp(0, 1), p.beta.clamp(0, 1)
        singular = ~torch.isfinite(_tau(alpha, beta)) | (alpha == 0)
        if bool(singular.any()):
            raise ValueError(
                f"Alpha: alpha and beta must differ and be above 0, got {alpha.tolist()} and "
                f"{beta.tolist()}, which "
                "training has moved together; keep them apart, e.g. learn one of them only"
            )

    def _base_state_reset_sub_function(self, input_: Tensor) -> Any:
        """What the reset by subtraction takes from the two currents and the membrane."""
        p = self.params(input_.dtype)
        syn_inh = self._hidden.syn_inh
        return p.threshold, unit(p.beta) * syn_inh - input_, -syn_inh

    def _base_sub(self, input_: Tensor) -> Any:
        new = self._base_state_function(input_)
        taken = self._base_state_reset_sub_function(input_)
        return tuple(value - part * self.reset for value, part in zip(new, taken, strict=True))

    _base_zero = LIF._zero_by_second_pass
    init_alpha = LIF.reset_mem


def _tau(alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.log(alpha) / (torch.log(beta) - torch.log(alpha)) + 1
