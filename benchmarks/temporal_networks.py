"""Spiking networks of `temporal.py`. Everything between their layers is a spike.

``network(x, lengths)`` takes recordings [T, B, features ...] and returns the scores of the classes,
[B, classes], and the spikes of each layer of neurons, [T, B, ...], without those after the end of a
recording.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.data import mask_sequences

__all__ = ["Layer", "OverTime", "Stepwise", "interval_means", "of_features", "of_images"]


class Layer(nn.Module):
    """Synapses with several delays each, batch norm over all steps, and leaky neurons.

    A kernel over time and bands is one synapse with a weight for each of its delays: the output of
    a step reads this step and earlier ones. Strides make coarser steps and bands.

    Args:
        inputs: channels of the input, [T, B, bands, inputs].
        outputs: channels of the output, one leak each.
        kernel: delays and bands of a synapse.
        stride: steps and bands from one output to the next.
        whole: the kernel has no bands beside it, so that one as wide as all bands makes them one.
        beta: initial leak.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        *,
        whole: bool = False,
        beta: float = 0.5,
    ) -> None:
        super().__init__()
        beside = 0 if whole else kernel[1] // 2
        self.synapses = nn.Conv2d(inputs, outputs, kernel, stride, (0, beside), bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.neurons = snn.Leaky(
            torch.full((outputs,), beta),
            learn_beta=True,
            init_hidden=True,
            mode="sequence",
            spike_grad=snn.surrogate.atan(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T / stride, B, bands, outputs]."""
        return self.neurons(self.currents(x))

    def currents(self, x: Tensor) -> Tensor:
        """What the neurons receive."""
        earlier = self.synapses.kernel_size[0] - 1
        known = nn.functional.pad(x.permute(1, 3, 0, 2), (0, 0, earlier, 0))
        y = self.synapses(known.contiguous(memory_format=torch.channels_last))
        y = y.permute(2, 0, 3, 1).contiguous()  # [T, B, bands, channels]
        # strides of channels-last, for which the backward pass of batch norm is ten times as fast
        flat = y.flatten(0, 1).permute(0, 2, 1).unsqueeze(-1)
        return self.norm(flat).squeeze(-1).permute(0, 2, 1).unflatten(0, y.shape[:2])


class OverTime(nn.Module):
    """Layers that take all steps at once, and the mean over time of what their spikes weigh."""

    def __init__(self, layers: Sequence[Layer], classes: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.stride = math.prod(layer.synapses.stride[0] for layer in layers)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.LazyLinear(classes)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        snn.reset(self)
        spikes = []
        for layer in self.layers:
            x = layer(x)
            spikes.append(x)
        weighed = self.readout(self.dropout(x.flatten(2)))
        return mean_over_time(weighed, -(-lengths // self.stride)), spikes


class Stepwise(nn.Module):
    """A network of one step, run over time, and a readout of the means over intervals.

    Args:
        net: of one step.
        readout: of the means of what ``net`` gives, [B, intervals x outputs], to the scores.
        intervals: equal parts of a recording; which part it was in is known to the readout.
    """

    def __init__(
        self, net: nn.Sequential, readout: nn.Module | None = None, intervals: int = 1
    ) -> None:
        super().__init__()
        self.net = net
        self.readout = readout or nn.Identity()
        self.intervals = intervals
        self.recorded = [f"{i}.spk" for i, m in enumerate(net) if isinstance(m, snn.Leaky)]

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        unequal = bool((lengths < len(x)).any())
        result = snn.run(
            self.net,
            x,
            record=self.recorded,
            batch_norm="time",
            lengths=lengths if unequal else None,
        )
        return self.readout(self.means(result.output, lengths)), list(result.record.values())

    def means(self, output: Tensor, lengths: Tensor) -> Tensor:
        """What the readout receives."""
        return interval_means(output, lengths, self.intervals).flatten(1)


def mean_over_time(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean of [T, B, ...] over the steps before the end of each recording."""
    return mask_sequences(x, lengths).sum(0) / lengths.unsqueeze(1)


def interval_means(x: Tensor, lengths: Tensor, intervals: int) -> Tensor:
    """Means of [T, B, features] over equal parts of each recording, [B, intervals, features].

    A step on the border of two intervals counts in both, by its share.
    """
    edges = lengths.unsqueeze(1) * torch.arange(intervals + 1) / intervals  # [B, intervals + 1]
    step = torch.arange(len(x))
    ends = torch.minimum(edges[:, 1:, None], step + 1)
    overlap = (ends - torch.maximum(edges[:, :-1, None], step)).clamp(min=0)
    share = overlap / overlap.sum(2, keepdim=True)
    return torch.einsum("bit,tbf->bif", share.to(x), x)


def of_images(classes: int) -> Stepwise:
    """Three convolutions, for frames [2, 34, 34] of events."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((2, 16, 5), (16, 32, 3), (32, 64, 3)):
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            snn.Leaky(0.7, learn_beta=True, init_hidden=True, spike_grad=snn.surrogate.atan()),
        ]
    layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 5 * 5, classes)]
    return Stepwise(nn.Sequential(*layers))


def of_features(features: int, hidden: int, intervals: int, classes: int) -> Stepwise:
    """One hidden layer of random synapses and leaks, read at several intervals of a recording."""
    neurons = snn.Leaky(torch.full((hidden,), 0.5), init_hidden=True)
    net = nn.Sequential(nn.Linear(features, hidden), nn.LayerNorm(hidden), neurons)
    readout = nn.Linear(intervals * hidden, classes)
    neurons.beta.uniform_(0.0, 0.5)
    nn.init.normal_(net[1].bias, std=0.3)
    return Stepwise(net, readout, intervals)
