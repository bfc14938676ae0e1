"""Neurons that only NIR graphs need: a plain threshold, and a reset of NIR's own kind."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from ..core.reset import Keep
from ..neurons.leaky import Leaky

__all__ = ["SameStepLeaky", "Threshold"]


def _positive(threshold: Any) -> Tensor:
    """A threshold that the base class accepts, in the place of one that NIR allows."""
    return torch.ones_like(torch.as_tensor(threshold))


class Threshold(Neuron):
    """A step without memory: a spike wherever the input exceeds the threshold.

    Args:
        threshold: any number; a scalar or one value for each neuron.
        **options: those of `Neuron` but for its reset.

    >>> Threshold(0.0, init_hidden=True)(torch.tensor([[-1.0, 0.0, 1.0]]))
    tensor([[0., 0., 1.]])
    """

    positive = ()

    class State(NamedTuple):
        mem: Tensor  # the input of this step, [B, ...]

    threshold: Tensor
    resets = {"none": Keep()}
    example = {"threshold": 0.2}

    def __init__(self, threshold: Any = 1.0, **options: Unpack[SpikeOptions]) -> None:
        super().__init__(_positive(threshold), reset_mechanism="none", **options)
        with torch.no_grad():
            self.threshold.copy_(torch.as_tensor(threshold))

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=x)

    @staticmethod
    def nir_node(p: Mapping[str, Any], dt: float) -> tuple[str, dict[str, Any]]:
        """Return a Threshold."""
        return "Threshold", {"threshold": p["threshold"]}


class _Membrane(NamedTuple):
    mem: Tensor  # membrane potential above rest, [B, ...], in the unit of the threshold


class SameStepLeaky(Neuron):
    r"""Leaky neuron that is reset in the step of its spike, to a potential of its own.

    .. math:: V = \beta U[t] + I[t+1] \qquad S[t+1] = H(V - \theta) \qquad U[t+1] = V - S[t+1] R

    with ``R = V - reset_to`` for ``"zero"`` and ``R = threshold - reset_to`` for ``"subtract"``.
    `Leaky` with ``reset_delay=False`` differs where ``"subtract"`` leaves the membrane above the
    threshold: there the next spike is decided after a second reset, as in snnTorch.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        threshold: firing threshold, likewise; rest is 0. Where it is not positive, the neuron fires
            at rest.
        reset_to: potential after a spike, likewise.
        learn_beta: make ``beta`` a parameter.
        reset_mechanism: ``"zero"`` or ``"subtract"``.
        **options: the others of `Neuron`.

    Raises:
        ValueError: ``beta`` outside [0, 1].

    >>> neuron = SameStepLeaky(0.5, threshold=1.0, reset_to=-0.5, reset_mechanism="zero")
    >>> neuron(torch.tensor([[1.5]]))
    (tensor([[1.]]), tensor([[-0.5000]]))
    """

    positive = ()
    State = _Membrane
    threshold: Tensor
    resets = {"subtract": Keep(), "zero": Keep()}  # `settle` does it
    example = {"beta": 0.9, "reset_to": -0.2}

    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        reset_to: Any = 0.0,
        learn_beta: bool = False,
        reset_mechanism: str = "subtract",
        **options: Unpack[SpikeOptions],
    ) -> None:
        start = _positive(threshold)
        super().__init__(start, reset_mechanism=reset_mechanism, reset_delay=False, **options)
        with torch.no_grad():
            self.threshold.copy_(torch.as_tensor(threshold))
        self.decay_parameter("beta", beta, learn_beta)
        self.parameter("reset_to", reset_to)

    integrate = staticmethod(Leaky.integrate)
    nir_node = staticmethod(Leaky.nir_node)

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        """The reset to a potential."""
        return state._replace(mem=state.mem - spk.detach() * (state.mem - p.reset_to))

    @property
    def equations(self) -> Any:
        """Those of the chosen reset."""
        return _BySubtraction if self._reset_mechanism == "subtract" else super().equations


class _BySubtraction:
    """The equations of a reset by a difference of potentials."""

    State = _Membrane
    elementwise = True
    retract = None
    integrate = staticmethod(SameStepLeaky.integrate)
    trigger = staticmethod(SameStepLeaky.trigger)

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        return state._replace(mem=state.mem - spk.detach() * (p.threshold - p.reset_to))
