"""Integrate-and-fire neuron whose spikes have its threshold as size: a ReLU after conversion."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import CommonOptions, Unpack
from .integrate_fire import IF

__all__ = ["ScaledIF"]


class ScaledIF(Neuron):
    r"""Integrate-and-fire neuron with spikes of the size of its threshold and any initial membrane.

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
        **options: the other arguments of `Neuron`. ``graded_spikes_factor`` is the size A of a
            spike; default: the threshold, which it does not follow where the threshold learns.

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

    resets = IF.resets
    example = {"threshold": 0.8, "initial_mem": 0.5}
    initial_mem: Tensor
    current: Tensor

    def __init__(
        self,
        threshold: Any = 1.0,
        initial_mem: Any = 0.0,
        current: Any = 0.0,
        **options: Unpack[CommonOptions],
    ) -> None:
        if options.get("graded_spikes_factor") is None:
            options["graded_spikes_factor"] = threshold
        super().__init__(threshold, **options)
        checks.in_range("initial_mem", initial_mem, -math.inf, math.inf)
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

    @staticmethod
    def nir_node(p: Mapping[str, Any], dt: float) -> tuple[str, dict[str, Any]]:
        """Return an IF measured from where this neuron starts, because NIR's start at 0."""
        if p["current"].any():
            raise ValueError(
                "a ScaledIF with a current has no NIR node; add the current to the bias of the "
                "layer before it, as spikeloom.conversion.Converted.unit_spikes does"
            )
        start = p["initial_mem"] * p["threshold"]
        shifted = {"threshold": p["threshold"] - start, "reset_to": -start}  # below the start
        return IF.nir_node(shifted, dt)

    init_scaled_if = Neuron.reset_mem
