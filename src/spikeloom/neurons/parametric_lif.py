"""Leaky integrate-and-fire neuron whose time constant is learned."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import CommonOptions, Unpack

__all__ = ["PLIF"]


class PLIF(Neuron):
    r"""Parametric leaky integrate-and-fire neuron: its time constant is learned without bounds.

    .. math::
        U[t] = U[t-1] + \sigma(w) (I[t] - U[t-1]) \qquad S[t] = H(U[t] - \theta) \qquad
        1 / \tau = \sigma(w)

    The parameter is w; any w is a time constant above 1. As in the paper a spike resets the
    membrane to 0 in its step, and the gradient passes the reset.

    Args:
        tau: time constant at the start, in steps, > 1; a scalar or one value for each neuron.
        threshold: firing threshold, > 0.
        learn_w: make w a parameter.
        **options: those of `Neuron`; ``reset_mechanism="zero"`` and ``reset_delay=False`` are the
            defaults.

    Raises:
        ValueError: ``tau`` is not above 1.

    Source: Fang et al. (2021), ICCV, 2661-2671.

    >>> import torch, spikeloom as snn
    >>> lif = snn.PLIF(tau=2.0, mode="sequence")
    >>> spk, mem = lif(torch.full((4, 1, 1), 1.2))
    >>> spk.flatten(), lif.tau
    (tensor([0., 0., 1., 0.], grad_fn=...), tensor(2., grad_fn=...))
    """

    class State(NamedTuple):
        mem: Tensor  # membrane U, [B, ...], in the unit of the threshold

    example = {"threshold": 0.5}
    w: Tensor

    def __init__(
        self,
        tau: Any = 2.0,
        threshold: Any = 1.0,
        learn_w: bool = True,
        **options: Unpack[CommonOptions],
    ) -> None:
        options.setdefault("reset_mechanism", "zero")
        options.setdefault("reset_delay", False)
        checks.in_range("tau", tau, 1.0, float("inf"), open_low=True, why="1 / tau is a sigmoid")
        checks.flags("PLIF", learn_w=learn_w)
        super().__init__(threshold, **options)
        value = torch.as_tensor(tau)
        value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
        self.parameter("w", -torch.log(value - 1), learn_w)

    @property
    def tau(self) -> Tensor:
        """The time constant, in steps."""
        return 1 / torch.sigmoid(self.w)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=state.mem + torch.sigmoid(p.w) * (x - state.mem))

    @staticmethod
    def nir_node(p: Any, dt: float) -> tuple[str, dict[str, Any]]:
        """Return a LIF with Euler's time constant."""
        tau = dt * (1 + 1 / torch.as_tensor(p["w"]).exp().numpy())
        return "LIF", {
            "tau": tau,
            "r": 0 * tau + 1,
            "v_leak": 0 * tau,
            "v_threshold": p["threshold"],
            "v_reset": 0 * tau,
        }

    def constants(self) -> list[str]:
        """Return the arguments that determine the parameters: ``tau`` instead of w."""
        return [*super().constants(), "tau"]

    init_plif = Neuron.reset_mem
