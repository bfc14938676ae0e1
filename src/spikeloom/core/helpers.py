"""snnTorch's small methods that every neuron has; nothing in the library needs them."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .transition import winner

__all__ = ["Helpers"]


class Helpers:
    """Mixin of `Neuron`: what snnTorch's subclasses and scripts call.

    >>> import spikeloom as snn
    >>> snn.Leaky(0.9).fire(torch.tensor([0.5, 1.5]))
    tensor([0., 1.])
    """

    instances: ClassVar[Any]
    threshold: Any
    graded_spikes_factor: Any
    spike_grad: Any
    state_quant: Any

    def fire(self, mem: Tensor) -> Tensor:
        """Spikes of a membrane, [B, ...]: the graded factor where ``mem > threshold``."""
        mem = self.state_quant(mem) if self.state_quant else mem
        return self.spike_grad(mem - self.threshold) * self.graded_spikes_factor

    def fire_inhibition(self, batch_size: int, mem: Tensor) -> Tensor:
        """Spikes of a membrane, [B, ...], where only the neuron furthest above its threshold may
        fire.

        Args:
            batch_size: snnTorch's argument; the size of axis 0 of ``mem`` is what counts.
            mem: membrane, [B, ...].
        """
        over = mem - self.threshold
        return self.spike_grad(over) * self.graded_spikes_factor * winner(over)

    def mem_reset(self, mem: Tensor) -> Tensor:
        """The reset signal of a membrane: 1 where ``mem > threshold``, without gradient."""
        return self.spike_grad(mem.detach() - self.threshold.detach()).detach()

    @classmethod
    def init(cls) -> None:
        """Forget which neurons are alive; they live on."""
        cls.instances.clear()

    @staticmethod
    def detach(*states: Tensor) -> None:
        """Cut tensors from the graph, in place."""
        for state in states:
            state.detach_()

    @staticmethod
    def zeros(*states: Tensor) -> None:
        """Fill tensors with 0, in place."""
        with torch.no_grad():
            for state in states:
                state.zero_()
