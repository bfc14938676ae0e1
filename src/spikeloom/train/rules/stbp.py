"""STBP as a rule of `fit`: backpropagation through time for its neurons and with its loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...core.tree import named_neurons
from ...functional.loss import mse_rate_loss
from ...learning.stbp import STBP_CURVES
from ...neurons.leaky import Leaky
from ..job import Job, Probe
from .gradients import BPTT
from .rule import refusal

__all__ = ["STBP"]


@dataclass(frozen=True)
class STBP(BPTT, name="stbp"):
    """Backpropagation in space and time: `BPTT` for networks of `learning.stbp_neuron`.

    The loss is ``mse_rate_loss()`` unless another one is given.

    >>> STBP().name
    'stbp'
    """

    def loss(self, given: Any) -> Callable[..., Tensor]:
        return mse_rate_loss() if given is None else given

    def check(self, job: Job, probe: Probe) -> None:
        super().check(job, probe)
        for path, neuron in named_neurons(job.net):
            kind = type(neuron).__name__
            if (
                type(neuron) is not Leaky
                or neuron.reset_mechanism != "zero_attached"
                or not neuron.reset_delay
            ):
                why = (
                    f"{kind} {path!r} is not its neuron, whose spike clears the membrane and "
                    "passes the gradient"
                )
            elif not isinstance(neuron.spike_grad, tuple(STBP_CURVES.values())):
                why = (
                    f"the surrogate of {path!r} is none of its four curves, got {neuron.spike_grad}"
                )
            else:
                continue
            raise TypeError(refusal(self, why, "write snn.learning.stbp_neuron() in its place"))
