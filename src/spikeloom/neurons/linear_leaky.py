"""A linear layer and a leaky integrator in one, for whole sequences."""

from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from .state_leaky import StateLeaky

__all__ = ["LinearLeaky"]


class LinearLeaky(StateLeaky):
    """`StateLeaky` after a linear layer: ``LinearLeaky(...)(x)`` is ``StateLeaky(...)(linear(x))``.

    Args:
        beta: as for `StateLeaky`.
        in_features: features of the input, [T, B, in_features].
        out_features: features of spikes and membrane.
        bias: whether the linear layer has a bias.
        device: of the linear layer.
        dtype: of the linear layer.
        (The other arguments are those of `StateLeaky`.)

    Raises:
        ValueError: as for `StateLeaky`, or an input that has not ``in_features`` features.

    Source: snnTorch 1.0.0, which introduced it.

    >>> import torch, spikeloom as snn
    >>> spk, mem = snn.LinearLeaky(beta=0.5, in_features=3, out_features=2)(torch.rand(4, 1, 3))
    >>> spk.shape, mem.shape
    (torch.Size([4, 1, 2]), torch.Size([4, 1, 2]))
    """

    no_nir_node = "it runs whole sequences from rest; use Linear and Leaky(beta=exp(beta - 1))"
    example = {
        "beta": 0.7,
        "in_features": 5,
        "out_features": 4,
        "threshold": 0.3,
    }

    def __init__(
        self,
        beta: Any,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        state_quant: Any = False,
        output: bool = True,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        kernel_truncation_steps: int | None = None,
    ) -> None:
        super().__init__(
            beta,
            out_features,
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
            state_quant=state_quant,
            output=output,
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            kernel_truncation_steps=kernel_truncation_steps,
        )
        self.linear = nn.Linear(in_features, out_features, bias=bias, device=device, dtype=dtype)

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step, see `Neuron.step`."""
        return super().step(self.linear(x), self.initial(x) if state is None else state)

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """All time steps, see `StateLeaky.scan`."""
        start = self.initial(x if num_steps is not None else x[0]) if state is None else state
        return super().scan(self.linear(x), start, num_steps=num_steps)

    def state_shape(self, x: Tensor) -> torch.Size:
        """``out_features`` in the place of ``in_features``."""
        checks.axis_has("LinearLeaky", "in_features", self.linear.in_features, x, -1)
        return torch.Size((*x.shape[:-1], self.channels))
