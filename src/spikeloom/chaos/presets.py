"""The authors' neuron, and the single neuron of their first example."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.densities import ZIF
from ..neurons.leaky import Leaky
from .loss_function import density

__all__ = ["SingleNeuron", "Trajectory", "lif"]


def lif(beta: float = 0.5, threshold: float = 1.0, gamma: float = 1.0, **options: Any) -> Leaky:
    """The LIF neuron of the authors' code, reset to zero in the step of the spike.

    ``U = beta U + I``; ``S = H(U - threshold)``; ``U = (1 - S) U``, with the triangle
    `snn.surrogate.ZIF` as surrogate. The gradient flows through the reset.

    Args:
        beta: decay; 0.5 in the multi-layer example, 0.2 in the single-neuron one.
        threshold: firing threshold.
        gamma: half width of the triangle.
        **options: options of `snn.Leaky`, such as ``init_hidden=True``.

    Returns:
        An `snn.Leaky` neuron.

    Source: Wang, Tao & Chen (2024), Natl. Sci. Rev. 11, nwae037, the authors' code.

    >>> neuron = lif(mode="sequence")
    >>> spk, mem = neuron(torch.tensor([[[0.8]], [[0.8]], [[0.8]]]))
    >>> spk.flatten(), mem.flatten()
    (tensor([0., 1., 0.]), tensor([0.8000, 0.0000, 0.8000]))
    """
    return Leaky(
        beta, threshold, spike_grad=ZIF(gamma), reset_mechanism="zero", reset_delay=False, **options
    )


class Trajectory(NamedTuple):
    """The course of `SingleNeuron`, one value per epoch, before its update.

    Attributes:
        weight: w.
        bias: b.
        task_loss: squared error of the rate.
        loss: task loss plus chaotic loss.

    >>> neuron = SingleNeuron()
    >>> neuron.train_on(torch.optim.SGD(neuron.parameters(), lr=0.001), epochs=1).task_loss
    tensor([1.])
    """

    weight: Tensor
    bias: Tensor
    task_loss: Tensor
    loss: Tensor


class SingleNeuron(nn.Module):
    """The single neuron of the authors' first example, whose target is silence at input 1.

    Args:
        w: initial weight.
        b: initial bias.
        steps: simulated time steps, 20 in the example.
        divide_by: divisor of the number of spikes. It is 10 in the example, so that the "rate" is
            up to 2 and the loss up to 4.
        beta: decay of the membrane.

    Source: Wang, Tao & Chen (2024), Natl. Sci. Rev. 11, nwae037, single-neuron example of the
    authors' code.

    >>> neuron = SingleNeuron()
    >>> rate, h = neuron(torch.ones(1, 1))
    >>> rate.item(), h.item()  # 10 spikes in 20 steps
    (1.0, 1.0)
    """

    def __init__(
        self,
        w: float = 0.5,
        b: float = 0.5,
        steps: int = 20,
        divide_by: int = 10,
        beta: float = 0.2,
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.constant_(self.layer.weight, w)
        nn.init.constant_(self.layer.bias, b)
        self.neuron = lif(beta, init_hidden=True, mode="sequence")
        self.steps = steps
        self.divide_by = divide_by

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rate [B, 1] and pre-activation [B, 1] for inputs [B, 1]."""
        h = self.layer(x)
        return self.rate(h), h

    def rate(self, h: Tensor) -> Tensor:
        """Spikes divided by ``divide_by``, for constant pre-activations [B, 1]."""
        spk, _ = self.neuron.scan(h, num_steps=self.steps)
        return spk.sum(0) / self.divide_by

    def update(self, state: Tensor, z: Tensor | float, lr: float = 1.0, I0: float = 0.65) -> Tensor:
        """One update of many such neurons at once, as a map for exponents and diagrams.

        Args:
            state: weight and bias, [..., 2].
            z: intensities that broadcast against [...].
            lr: learning rate.
            I0: as for `ChaoticLoss`.

        Returns:
            Weight and bias after the update, [..., 2], detached.
        """
        with torch.enable_grad():
            state = state.detach().requires_grad_()
            h = state.sum(-1, keepdim=True)  # the input is 1
            loss = self.rate(h.reshape(-1, 1)).square().sum() + (density(h[..., 0], I0) * z).sum()
            (gradient,) = torch.autograd.grad(loss, state)
        return state.detach() - lr * gradient

    def train_on(
        self, optimizer: torch.optim.Optimizer, chaos: Any = None, epochs: int = 4000
    ) -> Trajectory:
        """Trains towards silence.

        Args:
            optimizer: optimiser of the parameters.
            chaos: a `ChaoticLoss` of the pre-activation; annealed after each update.
            epochs: number of updates.
        """
        x = torch.ones(1, 1, dtype=self.layer.weight.dtype)
        rows = torch.zeros(4, epochs, dtype=x.dtype)
        for epoch in range(epochs):
            rate, h = self(x)
            task = (rate * rate).mean()
            loss = task if chaos is None else task + chaos(h)
            rows[:, epoch] = torch.stack(
                [self.layer.weight[0, 0], self.layer.bias[0], task, loss]
            ).detach()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if chaos is not None:
                chaos.step()
        return Trajectory(*rows)
