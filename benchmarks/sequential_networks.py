"""Networks of `sequential_mnist.py`.

``network(x)`` takes pixels [784, B] and returns outputs [steps, B, 10] and the spikes of each layer
of neurons, [steps, B, neurons].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from temporal_networks import Layer
from torch import Tensor, nn

import spikeloom as snn

__all__ = ["Line", "Lines", "Resonators", "lines", "resonators"]


@dataclass(frozen=True)
class DoubleGaussian(snn.surrogate.Surrogate):
    """Surrogate gradient of the authors: a normal density minus a wider one."""

    narrow: float = 0.5
    wide: float = 3.0
    share: float = 0.15
    height: float = 0.5

    def derivative(self, x: Tensor) -> Tensor:
        near = (1 + self.share) * self._density(x, self.narrow)
        return self.height * (near - 2 * self.share * self._density(x, self.wide))

    def primitive(self, x: Tensor) -> Tensor:
        near = (1 + self.share) * self._integral(x, self.narrow)
        return self.height * (near - 2 * self.share * self._integral(x, self.wide))

    @staticmethod
    def _density(x: Tensor, sigma: float) -> Tensor:
        return torch.exp(-0.5 * (x / sigma).square()) / (sigma * math.sqrt(2 * math.pi))

    @staticmethod
    def _integral(x: Tensor, sigma: float) -> Tensor:
        return 0.5 * (1 + torch.erf(x / (sigma * math.sqrt(2))))


class Resonators(nn.Module):
    """Recurrent balanced resonate-and-fire neurons and leaky integrators of their spikes."""

    def __init__(self, hidden: int, highest: float) -> None:
        super().__init__()
        self.hidden = hidden
        joint = nn.init.xavier_uniform_(torch.empty(hidden, 1 + hidden))
        self.pixel = nn.Parameter(joint[:, :1].T.clone())
        self.feedback = nn.Parameter(joint[:, 1:].T.clone())
        self.cell = snn.BalancedResonateFire(
            omega=torch.empty(hidden).uniform_(15.0, highest),
            damping=torch.empty(hidden).uniform_(0.1, 1.0),
            dt=0.01,
            learn_omega=True,
            learn_damping=True,
            spike_grad=DoubleGaussian(),
        )
        self.readout = nn.Linear(hidden, 10, bias=False)
        decay = torch.exp(-1 / torch.normal(20.0, 1.0, (10,)))
        self.integrator = snn.LI(decay, learn_beta=True, init_hidden=True, mode="sequence")

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        spk = x.new_zeros(x.shape[1], self.hidden)
        state, spikes = None, []
        for current in (x.unsqueeze(-1) * self.pixel).unbind(0):
            spk, state = self.cell.step(torch.addmm(current, spk, self.feedback), state)
            spikes.append(spk)
        beta = self.integrator.beta.clamp(0, 1)
        snn.reset(self.integrator)
        fired = torch.stack(spikes)
        return self.integrator((1 - beta) * self.readout(fired)), [fired]


def resonators(permuted: bool, hidden: int = 64) -> Resonators:
    """The network of the authors; frequencies reach higher where pixels are in random order."""
    return Resonators(hidden, 85.0 if permuted else 50.0)


class Line(Layer):
    """Synapses with several delays each, batch norm over all steps, and leaky neurons.

    A neuron is updated in the last of every ``stride`` steps of its input, from that step and
    earlier ones.

    Args:
        inputs: channels of the input, [T, B, inputs].
        outputs: neurons, each with a learned leak.
        delays: of a synapse, each with its own weight.
        stride: steps of the input for one of the neurons; T is a multiple of it.
        apart: steps of the input from one delay to the next.
    """

    def __init__(
        self, inputs: int, outputs: int, delays: int, stride: int = 1, apart: int = 1
    ) -> None:
        super().__init__(inputs, outputs, (delays, 1), (stride, 1))
        self.synapses.dilation = (apart, 1)
        self.earlier = (delays - 1) * apart - (stride - 1)

    def currents(self, x: Tensor) -> Tensor:
        """What the neurons receive, [T / stride, B, outputs]."""
        # the batch is the second axis of the image that the convolution reads: nothing is copied
        known = nn.functional.pad(x, (0, 0, 0, 0, self.earlier, 0)).permute(2, 0, 1).unsqueeze(0)
        return self.norm(self.synapses(known).to(x.dtype)).squeeze(0).permute(1, 2, 0)


class Lines(nn.Module):
    """Layers of neurons, and a readout at the last step whose synapses have a delay for each step.

    Args:
        layers: outputs, delays, stride and steps between delays of each `Line`.
        steps: pixels of an image.
        dropout: of spikes at the readout.
    """

    def __init__(
        self, layers: Sequence[tuple[int, int, int, int]], steps: int = 784, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        inputs = 1
        for outputs, delays, stride, apart in layers:
            self.layers.append(Line(inputs, outputs, delays, stride, apart))
            inputs, steps = outputs, steps // stride
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(steps * inputs, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        snn.reset(self)
        x = x.unsqueeze(-1)
        spikes = []
        for layer in self.layers:
            x = layer(x)
            spikes.append(x)
        delayed = self.dropout(x.transpose(0, 1).flatten(1))
        return self.readout(delayed).to(x.dtype).unsqueeze(0), spikes


SEQUENTIAL = ((32, 15, 4, 1), (64, 8, 1, 7), (128, 14, 7, 1), (128, 9, 2, 1))
PERMUTED = ((64, 28, 7, 1), (128, 28, 7, 1))


def lines(permuted: bool) -> Lines:
    """The network for pixels in order, in which 7 steps of the second layer are a row of the image,
    or in random order."""
    return Lines(PERMUTED if permuted else SEQUENTIAL)
