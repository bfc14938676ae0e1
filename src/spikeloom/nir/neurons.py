"""Neurons that NIR graphs need and nobody else: a plain threshold, and a reset of NIR's own
kind."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.decays import unit
from ..core.neuron import Neuron
from ..core.reset import Keep, Reset

__all__ = ["SameStepLeaky", "Threshold"]


class Threshold(Neuron):
    """A step without memory: a spike wherever the input exceeds the threshold.

    Args:
        threshold: any number; a scalar or one value for each neuron.
        spike_grad: surrogate gradient, as for `Neuron`.
        surrogate_disable: a plain step without gradient.
        init_hidden: return spikes only.
        learn_threshold: make it a parameter.
        output: return ``(spk, mem)`` although ``init_hidden=True``.
        mode: ``"step"`` or ``"sequence"``.

    >>> Threshold(0.0, init_hidden=True)(torch.tensor([[-1.0, 0.0, 1.0]]))
    tensor([[0., 0., 1.]])
    """

    positive: ClassVar[tuple[str, ...]] = ()

    class State(NamedTuple):
        mem: Tensor  # the input of this step, [B, ...]

    threshold: Tensor
    resets: ClassVar[Mapping[str, Reset]] = {"none": Keep()}
    example: ClassVar[dict[str, Any]] = {"threshold": 0.2}

    def __init__(
        self,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        learn_threshold: bool = False,
        output: bool = False,
        *,
        mode: str = "step",
    ) -> None:
        value = torch.as_tensor(threshold)
        super().__init__(
            torch.ones_like(
                value
            ),  # the base class rightly refuses a threshold <= 0 of a neuron with a membrane
            spike_grad,
            surrogate_disable,
            init_hidden,
            learn_threshold=learn_threshold,
            reset_mechanism="none",
            output=output,
            mode=mode,
        )
        with torch.no_grad():
            self.threshold.copy_(value)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=x)


class _Membrane(NamedTuple):
    mem: Tensor  # membrane potential above rest, [B, ...], in the unit of the threshold


class _ToValue:
    """The equations of a reset to a potential."""

    State = _Membrane
    elementwise = True
    retract = None

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=unit(p.beta) * state.mem + x)

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return state.mem - p.threshold

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        return state._replace(mem=state.mem - spk.detach() * (state.mem - p.reset_to))


class _BySubtraction(_ToValue):
    """The equations of a reset by a difference of potentials."""

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        return state._replace(mem=state.mem - spk.detach() * (p.threshold - p.reset_to))


class SameStepLeaky(Neuron):
    r"""Leaky neuron that is reset in the step of its spike, to a potential of its own.

    .. math:: V = \beta U[t] + I[t+1] \qquad S[t+1] = H(V - \theta) \qquad U[t+1] = V - S[t+1] R

    with ``R = V - reset_to`` for ``"zero"`` and ``R = threshold - reset_to`` for ``"subtract"``.
    `Leaky` with ``reset_delay=False`` differs where ``"subtract"`` leaves the membrane above the
    threshold: there the next spike is decided after a second reset, as in snnTorch.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        threshold: firing threshold, > 0, above rest, which is 0; likewise.
        reset_to: potential after a spike, likewise.
        spike_grad: surrogate gradient, as for `Neuron`.
        surrogate_disable: a plain step without gradient.
        init_hidden: the neuron keeps its state and returns spikes only.
        learn_beta: make ``beta`` a parameter.
        learn_threshold: make ``threshold`` a parameter.
        reset_mechanism: ``"zero"`` or ``"subtract"``.
        output: return ``(spk, mem)`` although ``init_hidden=True``.
        mode: ``"step"`` or ``"sequence"``.

    Raises:
        ValueError: ``beta`` outside [0, 1] or ``threshold`` not positive.

    >>> neuron = SameStepLeaky(0.5, threshold=1.0, reset_to=-0.5, reset_mechanism="zero")
    >>> neuron(torch.tensor([[1.5]]))
    (tensor([[1.]]), tensor([[-0.5000]]))
    """

    State = _Membrane
    resets: ClassVar[Mapping[str, Reset]] = {"subtract": Keep(), "zero": Keep()}  # `settle` does it
    example: ClassVar[dict[str, Any]] = {"beta": 0.9, "reset_to": -0.2}

    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        reset_to: Any = 0.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
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
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
            output=output,
            reset_delay=False,
            mode=mode,
        )
        self.decay("beta", beta, learn_beta)
        self.parameter("reset_to", reset_to)

    @property
    def equations(self) -> Any:
        """Those of the chosen reset."""
        return _BySubtraction if self._reset_mechanism == "subtract" else _ToValue

    integrate = staticmethod(_ToValue.integrate)
    settle = staticmethod(_ToValue.settle)
