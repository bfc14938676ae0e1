"""Integrate-and-fire neuron whose spikes carry its threshold: what stands for a ReLU after
conversion."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.reset import Keep, Reset, Subtract, ZeroBefore

__all__ = ["ScaledIF"]


class ScaledIF(Neuron):
    r"""Integrate-and-fire neuron with spikes of the size of its threshold, which may start above
    rest.

    .. math::
        U[t+1] = U[t] + I[t+1] + c - R[t] \theta \qquad S[t+1] = A \, H(U[t+1] - \theta) \qquad
        U[0] = v \theta

    With A equal to the threshold (default) the mean output over T steps of a constant input is that
    input, clipped to [0, threshold], to within threshold / T; with v = 1/2 to within half of that.
    Spikes are thus in the unit of the input, and sums and biases behind the neuron need no
    rescaling. Not in snnTorch.

    Args:
        threshold: firing threshold, > 0; a scalar or a tensor that broadcasts against [B, ...].
        initial_mem: membrane at rest as a fraction v of the threshold.
        current: constant input c of each step.
        spike_grad: surrogate gradient, as for `Neuron`.
        surrogate_disable: a plain step without gradient.
        init_hidden: the neuron keeps its state and returns spikes only.
        inhibition: only the neuron of a sample that is furthest above its threshold fires.
        learn_threshold: make the threshold a parameter; the size of a spike does not follow it.
        reset_mechanism: ``"subtract"``, ``"zero"`` or ``"none"``.
        state_quant: a function applied to the membrane.
        output: return ``(spk, mem)`` although ``init_hidden=True``.
        graded_spikes_factor: size A of a spike. Default: the threshold.
        learn_graded_spikes_factor: make it a parameter.
        reset_delay: reset one step after the spike (default) or in the step of the spike.
        mode: ``"step"`` or ``"sequence"``.

    Raises:
        ValueError: as `Neuron`, or ``initial_mem`` is no finite number.

    Source: Rueckauer et al. (2017), Front. Neurosci. 11:682, for the reset by subtraction; Bu et
    al. (2022), ICLR, for the start at half of the threshold.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.ScaledIF(threshold=2.0, initial_mem=0.5, mode="sequence")
    >>> spk, mem = neuron(torch.full((4, 1, 1), 1.2))
    >>> spk.flatten(), spk.mean().item()
    (tensor([2., 0., 2., 0.]), 1.0)
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in the unit of the input

    resets: ClassVar[Mapping[str, Reset]] = {
        "subtract": Subtract(),
        "zero": ZeroBefore(),
        "none": Keep(),
    }
    example: ClassVar[dict[str, Any]] = {"threshold": 0.8, "initial_mem": 0.5}
    initial_mem: Tensor
    current: Tensor

    def __init__(
        self,
        threshold: Any = 1.0,
        initial_mem: Any = 0.0,
        current: Any = 0.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = None,
        learn_graded_spikes_factor: bool = False,
        *,
        reset_delay: bool = True,
        mode: str = "step",
    ) -> None:
        infinity = float("inf")
        checks.in_range(
            "initial_mem", initial_mem, -infinity, infinity, open_low=True, open_high=True
        )
        super().__init__(
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            threshold if graded_spikes_factor is None else graded_spikes_factor,
            learn_graded_spikes_factor,
            reset_delay=reset_delay,
            mode=mode,
        )
        self.parameter("initial_mem", initial_mem)
        self.parameter("current", current)

    def initial(self, x: Tensor) -> Any:
        """The state at rest for inputs like ``x``, [B, ...]: a fraction of the threshold."""
        rest = super().initial(x)
        start = (self.initial_mem * self.threshold).detach()
        return rest._replace(mem=rest.mem + start.to(rest.mem.dtype))

    @torch.no_grad()
    def balance(self, threshold: Any) -> None:
        """Set the threshold and the size of a spike, both in the unit of the input.

        Args:
            threshold: > 0, a scalar or a tensor that broadcasts against [B, ...].

        Raises:
            ValueError: it is not positive.
        """
        checks.in_range(
            "threshold",
            threshold,
            0.0,
            float("inf"),
            open_low=True,
            why="a neuron at rest would fire",
        )
        for name in ("threshold", "graded_spikes_factor"):
            old = getattr(self, name)
            new = torch.as_tensor(threshold).detach().to(old).clone()
            setattr(
                self, name, torch.nn.Parameter(new) if isinstance(old, torch.nn.Parameter) else new
            )

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=state.mem + (x + p.current))

    init_scaled_if = Neuron.reset_mem
