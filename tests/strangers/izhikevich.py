from typing import Any, NamedTuple

from torch import Tensor
from typing_extensions import Unpack

import spikeloom as snn


class StrangeIzhikevich(snn.Neuron):
    """Izhikevich (2003), in ms and in mV above the reset potential.

    >>> StrangeIzhikevich(mode="sequence")(torch.full((20, 1, 1), 20.0))[0].sum()
    tensor(2.)
    """

    class State(NamedTuple):
        mem: Tensor  # v + 65
        rec: Tensor  # u + 13

    resets = {"zero": snn.Neuron.resets["zero"]}  # noqa: RUF012
    example_gain = 25.0

    def __init__(self, a: Any = 0.02, learn_a: bool = False, **options: Unpack[snn.NeuronOptions]):
        super().__init__(**{"threshold": 95.0, "reset_mechanism": "zero", **options})
        self.parameter("a", a, learn_a)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        mem = state.mem + state.mem * (0.04 * state.mem - 0.2) - 3.0 - state.rec + x
        return state._replace(mem=mem, rec=state.rec + p.a * (0.2 * mem - state.rec))

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        return state._replace(rec=state.rec + 8.0 * spk)
