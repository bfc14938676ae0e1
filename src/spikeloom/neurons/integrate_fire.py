"""Integrate-and-fire neuron without leak."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..core.neuron import Neuron
from ..core.reset import Keep, Subtract, ZeroBefore
from .leaky import Leaky

__all__ = ["IF"]


class IF(Neuron):
    r"""Integrate-and-fire neuron: `Leaky` with beta = 1.

    .. math:: U[t+1] = U[t] + I[t+1] - R[t] \theta

    A constant input I below the threshold makes it fire at the rate I / threshold, which is why
    rate-based conversion uses it. Not in snnTorch.

    Args:
        threshold: firing threshold, > 0; the other arguments are those of `Neuron`, in its order.

    Raises:
        ValueError: as `Neuron`.

    Source: Diehl et al. (2015), Proc. IJCNN, 1-8; Rueckauer et al. (2017), Front. Neurosci. 11:682,
    for the rate law.

    >>> import torch, spikeloom as snn
    >>> spk, mem = snn.IF(mode="sequence")(torch.full((8, 1, 1), 0.25))
    >>> spk.flatten(), mem.flatten()
    (tensor([0., 0., 0., 0., 1., 0., 0., 0.]),
     tensor([0.2500, 0.5000, 0.7500, 1.0000, 1.2500, 0.5000, 0.7500, 1.0000]))
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in the unit of the threshold

    resets = {
        "subtract": Subtract(),
        "zero": ZeroBefore(),
        "none": Keep(),
    }
    is_linear = True
    example = {"threshold": 1.0}

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=state.mem + x)

    @staticmethod
    def nir_node(p: Mapping[str, Any], dt: float) -> tuple[str, dict[str, Any]]:
        """Return an IF that adds its input once a step."""
        return Leaky.nir_node({**p, "beta": 0 * p["threshold"] + 1}, dt)

    init_if = Neuron.reset_mem
