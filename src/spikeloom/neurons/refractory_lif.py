"""Leaky integrate-and-fire neuron with a refractory period: the inhibitory cell of Diehl & Cook."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from ..core.reset import Keep
from .leaky import Leaky

__all__ = ["Potential", "RefractoryLIF", "unless_silent"]


@dataclass(frozen=True)
class Potential(Keep):
    """``settle`` sets the membrane to a potential in the step of the spike.

    Its name is ``reset_mechanism="potential"``.
    """


def unless_silent(state: Any, value: Tensor, instead: float = 0.0) -> Tensor:
    """``value`` where a neuron is not refractory, a number elsewhere."""
    return torch.where(state.refractory > 0, torch.full_like(value, instead), value)


class RefractoryLIF(Neuron):
    r"""Leaky integrate-and-fire neuron that is deaf for some steps after a spike.

    .. math::
        U[t+1] = \beta U[t] + I[t+1] \; (\text{not refractory}) \qquad
        U \leftarrow U_{reset} \text{ at a spike}

    The membrane is measured from rest, so that it starts at 0. While the neuron is refractory it
    decays, and neither takes input nor fires. The defaults are those of the inhibitory cell of
    Diehl & Cook with a step of 1 ms, its input a current, in mV above the resting potential of -60
    mV.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        threshold: above rest, > 0; the neuron fires when ``mem > threshold``.
        reset_to: membrane after a spike, below ``threshold``.
        refractory_steps: steps without input after the step of a spike; >= 0.
        learn_beta: make ``beta`` a parameter; it is clamped to [0, 1] in the equation.
        **options: those of `Neuron` but for its reset, through which no gradient passes.

    Raises:
        ValueError: ``beta`` outside [0, 1], a threshold <= 0, a reset potential not below it, or a
            negative period.

    Source: constants from the code of Diehl & Cook (2015), Front. Comput. Neurosci. 9:99; the
    current-based form is that of n3ml.

    >>> import torch, spikeloom as snn
    >>> spk, mem, refractory = snn.RefractoryLIF(mode="sequence")(torch.full((8, 1, 1), 22.5))
    >>> spk.flatten()
    tensor([1., 0., 0., 1., 0., 0., 1., 0.])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane above rest, [B, ...]
        refractory: Tensor  # steps of silence that are left, [B, ...]

    resets = {"potential": Potential()}
    example = {
        "beta": 0.8,
        "threshold": 0.9,
        "reset_to": 0.2,
        "refractory_steps": 1,
    }

    def __init__(
        self,
        beta: Any = 0.9048374180359595,
        threshold: Any = 20.0,
        reset_to: Any = 15.0,
        refractory_steps: int = 2,
        learn_beta: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        super().__init__(threshold, reset_mechanism="potential", **options)
        self.decay_parameter("beta", beta, learn_beta)
        self._silence(threshold, reset_to, refractory_steps)

    def _silence(self, threshold: Any, reset_to: Any, refractory_steps: int) -> None:
        """Check and register what follows a spike."""
        lowest = float(torch.as_tensor(threshold).min())
        checks.in_range(
            "reset_to",
            reset_to,
            float("-inf"),
            lowest,
            open_high=True,
            why="it would fire at once again",
        )
        checks.in_range(
            "refractory_steps", refractory_steps, 0, float("inf"), why="it is a number of steps"
        )
        self.parameter("reset_to", reset_to)
        self.parameter("refractory_steps", refractory_steps)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return Leaky.integrate(unless_silent(state, x), state, p)

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return unless_silent(state, state.mem - p.threshold, -1.0)

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        """The membrane at its reset potential, the refractory period begun or shorter by one."""
        fired = spk != 0
        left = (state.refractory - 1).clamp(min=0)
        return state._replace(
            mem=torch.where(fired, p.reset_to, state.mem),
            refractory=torch.where(fired, p.refractory_steps, left),
        )

    init_refractory_lif = Neuron.reset_mem
