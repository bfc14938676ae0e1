from typing import Any

from torch import Tensor

import spikeloom as snn


class Doubling(snn.IF):
    """An integrator that doubles its input.

    >>> Doubling(threshold=3.0, init_hidden=True)(torch.full((1, 1), 2.0))
    tensor([[1.]])
    """

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=state.mem + 2 * x)


def write(p: Any, dt: float) -> tuple[str, dict[str, Any]]:
    return "IF", {"r": 2 / dt + 0 * p["threshold"], "v_threshold": p["threshold"]}


snn.nir.register(
    Doubling, write=write, read=lambda fields, dt: {"threshold": fields["v_threshold"]}
)
