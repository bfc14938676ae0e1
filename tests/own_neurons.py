"""Neurons as a user writes them: each is one class in one file, without a change in the library."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

import spikeloom as snn
from spikeloom.core.decays import unit
from spikeloom.core.options import NeuronOptions, SpikeOptions, Unpack


class OwnIzhikevich(snn.Neuron):
    class State(NamedTuple):
        mem: Tensor
        recovery: Tensor

    example_gain: ClassVar[float] = 20.0

    def __init__(
        self, a: Any = 0.02, b: Any = 0.2, learn_a: bool = False, **options: Unpack[SpikeOptions]
    ) -> None:
        super().__init__(30.0, reset_mechanism="none", **options)
        self.parameter("a", a, learn_a)
        self.parameter("b", b)

    def initial(self, x: Tensor) -> Any:
        rest = super().initial(x)
        return rest._replace(mem=rest.mem - 65.0, recovery=rest.recovery - 13.0)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        change = 0.04 * state.mem * state.mem + 5 * state.mem + 140 - state.recovery + x
        mem = (state.mem + change).clamp(max=35.0)
        return state._replace(mem=mem, recovery=state.recovery + p.a * (p.b * mem - state.recovery))

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        fired = spk != 0
        return state._replace(
            mem=torch.where(fired, -65.0, state.mem),
            recovery=torch.where(fired, state.recovery + 8.0, state.recovery),
        )


class OwnAdaptive(snn.Neuron):
    class State(NamedTuple):
        mem: Tensor
        adapt: Tensor

    example: ClassVar[Mapping[str, Any]] = {"threshold": 0.2}

    def __init__(
        self,
        alpha: Any = 0.9,
        beta: Any = 0.98,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        **options: Unpack[NeuronOptions],
    ) -> None:
        super().__init__(**options)
        self.decay_parameter("alpha", alpha, learn_alpha)
        self.decay_parameter("beta", beta, learn_beta, of="adaptation")

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        alpha = unit(p.alpha)
        return state._replace(mem=alpha * state.mem + (1 - alpha) * (x - state.adapt))

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        beta = unit(p.beta)
        return state._replace(adapt=beta * state.adapt + (1 - beta) * (0.5 * state.mem + spk))
