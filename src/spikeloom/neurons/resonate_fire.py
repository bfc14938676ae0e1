"""Resonate-and-fire neurons: the membrane oscillates, and fires for inputs in its rhythm."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from ..core.reset import Keep
from .refractory_lif import Potential

__all__ = ["BalancedResonateFire", "ResonateFire"]


class ResonateFire(Neuron):
    r"""Resonate-and-fire neuron, integrated exactly between inputs.

    .. math::
        z' = (b + i \omega) z + I \qquad \mathrm{Im}\, z > \theta: \; z \leftarrow i \, z_0

    A step rotates and shrinks z by :math:`e^{(b + i \omega) dt}` and then adds ``I dt`` to its real
    part. The membrane is the imaginary part.

    Args:
        damping: b, per unit of time, <= 0.
        omega: angular frequency, in radians per unit of time.
        threshold: of the imaginary part, > 0.
        reset_to: imaginary part z_0 after a spike, at most ``threshold``; the real part is 0.
        dt: step, in the unit of time, > 0.
        learn_damping: make ``damping`` a parameter.
        learn_omega: make ``omega`` a parameter.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: ``damping`` is positive, ``dt`` or ``threshold`` is not, or ``reset_to`` is
            above ``threshold``.

    Source: Izhikevich (2001), Neural Networks 14, 883-894.

    >>> import torch, spikeloom as snn
    >>> x = torch.zeros(60, 1, 2)
    >>> x[[0, 20], 0, 0] = x[[0, 10], 0, 1] = 0.6  # one period apart, and half of one
    >>> cell = snn.ResonateFire(damping=-0.01, omega=2 * torch.pi / 20, mode="sequence")
    >>> cell(x)[0].sum(0)
    tensor([[1., 0.]])
    """

    class State(NamedTuple):
        mem: Tensor  # imaginary part of z, [B, ...], in the unit of the threshold
        real: Tensor  # real part of z, likewise

    resets = {"potential": Potential()}
    positive = ("threshold", "dt")
    example = {"omega": 0.8, "threshold": 0.7, "reset_to": 0.5}
    no_nir_node = "NIR has no oscillating neuron; use Leaky or Synaptic"

    def __init__(
        self,
        damping: Any = -0.1,
        omega: Any = 0.5,
        threshold: Any = 1.0,
        reset_to: Any = 1.0,
        dt: Any = 1.0,
        learn_damping: bool = False,
        learn_omega: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        checks.in_range("damping", damping, float("-inf"), 0.0, why="oscillations would grow")
        checks.in_range("dt", dt, 0.0, float("inf"), open_low=True, why="it is a step of time")
        super().__init__(threshold, reset_mechanism="potential", **options)
        highest = float(self.threshold.detach().min())
        why = "it would fire at once again"
        checks.in_range("reset_to", reset_to, float("-inf"), highest, why=why)
        self.parameter("damping", damping, learn_damping)
        self.parameter("omega", omega, learn_omega)
        self.parameter("reset_to", reset_to)
        self.parameter("dt", dt)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        shrink = torch.exp(p.damping * p.dt)
        angle = p.omega * p.dt
        cos, sin = shrink * torch.cos(angle), shrink * torch.sin(angle)
        return state._replace(
            mem=sin * state.real + cos * state.mem,
            real=cos * state.real - sin * state.mem + p.dt * x,
        )

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        fired = spk != 0
        return state._replace(
            mem=torch.where(fired, p.reset_to, state.mem),
            real=torch.where(fired, torch.zeros_like(state.real), state.real),
        )

    init_resonate_fire = Neuron.reset_mem


class BalancedResonateFire(Neuron):
    r"""Balanced resonate-and-fire neuron.

    Instead of a reset, it has a refractory period that damps and raises the threshold. Its damping
    keeps Euler's method from diverging.

    .. math::
        b[t] = \frac{\sqrt{1 - (\delta \omega)^2} - 1}{\delta} - b_0 - q[t-1] \\
        u[t] = u + \delta (b u - \omega v + I[t]) \qquad v[t] = v + \delta (\omega u + b v) \\
        S[t] = H(u[t] - \theta - q[t-1]) \qquad q[t] = \gamma q[t-1] + S[t]

    Args:
        omega: angular frequency, in radians per unit of time; its absolute value times ``dt`` must
            not exceed 1.
        damping: b_0, per unit of time; its absolute value is taken.
        gamma: fraction of the refractory period q that is left after one step, in [0, 1].
        threshold: of the real part u, > 0.
        dt: step delta, in the unit of time, > 0.
        learn_omega: make ``omega`` a parameter.
        learn_damping: make ``damping`` a parameter.
        **options: those of `Neuron` but for its reset, of which there is none.

    Raises:
        ValueError: ``gamma`` outside [0, 1], ``dt`` or ``threshold`` not positive, or
            ``omega * dt`` above 1.

    Source: Higuchi, Kairat, Bohte & Otte (2024), ICML (arXiv:2402.14603).

    >>> import torch, spikeloom as snn
    >>> cell = snn.BalancedResonateFire(omega=10.0, mode="sequence")
    >>> spk, mem, imag, refractory = cell(torch.full((40, 1, 1), 20.0))
    >>> spk.flatten().nonzero().flatten()
    tensor([ 5, 10, 18])
    """

    class State(NamedTuple):
        mem: Tensor  # real part u, [B, ...], in the unit of the threshold
        imag: Tensor  # imaginary part v, likewise
        refractory: Tensor  # refractory period q, likewise

    resets = {"none": Keep()}
    positive = ("threshold", "dt")
    example = {"omega": 8.0, "dt": 0.1}
    example_gain = 10.0
    no_nir_node = "NIR has no oscillating neuron; use Leaky or Synaptic"
    omega: Tensor
    dt: Tensor

    def __init__(
        self,
        omega: Any = 10.0,
        damping: Any = 1.0,
        gamma: Any = 0.9,
        threshold: Any = 1.0,
        dt: Any = 0.01,
        learn_omega: bool = False,
        learn_damping: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        checks.in_range("dt", dt, 0.0, float("inf"), open_low=True, why="it is a step of time")
        checks.in_range(
            "gamma", gamma, 0.0, 1.0, why="it is the fraction of q that is left after one step"
        )
        super().__init__(threshold, reset_mechanism="none", **options)
        self.parameter("omega", omega, learn_omega)
        self.parameter("damping", damping, learn_damping)
        self.parameter("gamma", gamma)
        self.parameter("dt", dt)
        self.inspect_together()

    def inspect_together(self) -> None:
        angle = (self.omega * self.dt).detach().abs()
        if angle.device.type != "meta" and bool((angle > 1).any()):
            raise ValueError(
                f"BalancedResonateFire: omega * dt must be at most 1, got {angle.max():.4g}, for "
                "which Euler's method diverges; write a smaller dt"
            )

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        omega = p.omega.abs()
        bound = (torch.sqrt((1 - (p.dt * omega).square()).clamp(min=1e-6)) - 1) / p.dt
        b = bound - p.damping.abs() - state.refractory
        u, v = state.mem, state.imag
        return state._replace(
            mem=u + p.dt * (b * u - omega * v + x),
            imag=v + p.dt * (omega * u + b * v),
        )

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return state.mem - p.threshold - state.refractory

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        return state._replace(refractory=p.gamma * state.refractory + spk)

    init_balanced_resonate_fire = Neuron.reset_mem
