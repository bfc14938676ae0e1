"""Base of the neurons in physical units: resting potential, spike peak and reset potential."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core import checks
from ..core.neuron import Neuron
from ..core.options import SpikeOptions, Unpack
from .refractory_lif import Potential

__all__ = ["Physical"]


class Physical(Neuron):
    """A `Neuron` whose membrane starts at ``rest`` and is set to ``reset_to`` by a spike.

    It fires in the step in which the membrane exceeds ``threshold``. The surrogate gradient is a
    function of ``(mem - threshold) / (threshold - rest)``, so that it is as wide, relative to the
    potentials, as that of neurons without units. No gradient passes the reset.

    Args:
        threshold: the peak, > 0, above ``reset_to``.
        quantities: the other parameters of the equations by name, in the order of registration.
        learn_parameters: make all of them but the step ``dt`` parameters; to fix one of them, call
            ``requires_grad_(False)`` on it.
        **options: those of `Neuron` but for its reset.

    Raises:
        ValueError: a quantity in ``positive`` is not positive, or ``reset_to`` is not below the
            threshold.

    >>> import torch, spikeloom as snn
    >>> cell = snn.EIF(learn_parameters=True)
    >>> [name for name, _ in cell.named_parameters()]
    ['tau', 'rest', 'rheobase', 'sharpness', 'reset_to']
    """

    resets = {"potential": Potential()}
    after_spike: ClassVar[str] = "reset_to"  # name of the membrane after a spike
    rest: Tensor

    def __init__(
        self,
        threshold: Any,
        quantities: Mapping[str, Any],
        learn_parameters: bool = False,
        **options: Unpack[SpikeOptions],
    ) -> None:
        super().__init__(threshold, reset_mechanism="potential", **options)
        checks.flags(type(self).__name__, learn_parameters=learn_parameters)
        self.learn_parameters = learn_parameters
        for name, value in quantities.items():
            if name in self.positive:
                checks.in_range(
                    name, value, 0.0, float("inf"), open_low=True, why="it is a physical quantity"
                )
            self.parameter(name, value, learn_parameters and name != "dt")
        checks.in_range(
            self.after_spike,
            quantities[self.after_spike],
            float("-inf"),
            float(torch.as_tensor(threshold).min()),
            open_high=True,
            why="it would fire at once again",
        )

    def initial(self, x: Tensor) -> Any:
        state = super().initial(x)
        return state._replace(mem=state.mem + self.rest.to(state.mem.dtype))

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        # noise may shift the threshold below rest, which must not turn the sign
        return (state.mem - p.threshold) / (p.threshold - p.rest).abs()

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        return state._replace(mem=torch.where(spk != 0, p.reset_to, state.mem))
