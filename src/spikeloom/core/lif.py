"""The base of neurons whose membrane decays by a factor beta."""

from typing import Any

from . import checks
from .neuron import Neuron

__all__ = ["LIF"]


class LIF(Neuron):
    """Base of the leaky neurons: a `Neuron` with the decay ``beta``, in snnTorch's order of
    arguments.

    A subclass declares ``State`` and ``integrate`` as those of `Neuron` do, or, as in snnTorch, its
    own ``forward``.

    Args:
        beta: decay of the membrane per step, in [0, 1]; a scalar or one value for each neuron.
        learn_beta: make it a parameter.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``beta`` outside [0, 1].

    >>> import torch
    >>> class Doubled(LIF):
    ...     def forward(self, input_):
    ...         return self.fire(2 * self.beta * input_)
    >>> Doubled(beta=0.5)(torch.tensor([0.5, 1.5]))
    tensor([0., 1.])
    """

    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        *,
        reset_delay: bool = True,
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
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
            reset_delay=reset_delay,
            mode=mode,
        )
        self._beta_buffer(beta, learn_beta)

    def _beta_buffer(self, beta: Any, learn_beta: bool) -> None:
        self.decay("beta", beta, learn_beta)

    def _V_register_buffer(self, V: Any, learn_V: bool) -> None:
        """Register a feedback weight, for copies of snnTorch's recurrent neurons."""
        self.parameter("V", V, learn_V)
