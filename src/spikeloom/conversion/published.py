"""The networks of Diehl et al. (2015) and Sengupta et al. (2019) under the names of n3ml.

The spiking ones send spikes of size 1 and balance the thresholds instead of the weights, as
published. They run on any device and for any batch size.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import dropout

from ..core import checks
from ..core.tree import reset
from ..neurons.scaled_if import ScaledIF
from ..running import run
from .convert import ordinary
from .sample_batches import batches
from .scales import scales
from .spike_norm import spike_norm
from .twin import SEGMENT, Settings

__all__ = [
    "SVGG16",
    "VGG16",
    "Diehl2015",
    "SNN_Diehl2015",
    "UnitNetwork",
    "activation_based",
    "spikenorm",
]


class Diehl2015(nn.Sequential):
    """The convolutional network of Diehl et al., 28x28-12c5-2s-64c5-2s-10o.

    It has ReLU, average pooling and dropout, and no bias.

    Source: Diehl et al. (2015), Proc. IJCNN, section III.

    >>> Diehl2015()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        layers: dict[str, nn.Module] = {}
        for i, (inputs, outputs) in enumerate(((1, 12), (12, 64)), 1):
            layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, 5, bias=False)
            layers[f"conv{i}_relu"] = nn.ReLU()
            layers[f"conv{i}_drop"] = nn.Dropout(0.5)
            layers[f"pool{i}"] = nn.AvgPool2d(2)
        super().__init__(
            OrderedDict({**layers, "flat": nn.Flatten(), "fc1": nn.Linear(1024, 10, bias=False)})
        )


class VGG16(nn.Sequential):
    """The VGG-16 of Sengupta et al. for images of 3 x 32 x 32.

    It has average pooling and dropout, and neither bias nor batch norm.

    Source: Sengupta et al. (2019), Front. Neurosci. 13:95, section 2.3; sizes and dropout rates as
    in n3ml.

    >>> VGG16()(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(self) -> None:
        widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
        layers: dict[str, nn.Module] = {}
        for i, (inputs, outputs) in enumerate(pairwise((3, *widths)), 1):
            layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers[f"conv{i}_relu"] = nn.ReLU()
            if i in (2, 4, 7, 10):
                layers[f"conv{i}_avgpool"] = nn.AvgPool2d(2)
            else:
                layers[f"conv{i}_drop"] = nn.Dropout(0.2)
        layers["flat"] = nn.Flatten()
        for i, (inputs, outputs) in enumerate(pairwise((2048, 4096, 4096)), 14):
            layers[f"fc{i}"] = nn.Linear(inputs, outputs, bias=False)
            layers[f"fc{i}_relu"] = nn.ReLU()
            layers[f"fc{i}_drop"] = nn.Dropout(0.5)
        super().__init__(OrderedDict({**layers, "fc16": nn.Linear(4096, 10, bias=False)}))
        for module in self:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (9 * module.out_channels)))
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)


class UnitNetwork(nn.Sequential):
    """A chain of layers with a spiking neuron for each ReLU and one behind the last layer.

    Its parameters have the names of the ordinary network, so that weights are copied by name.

    Args:
        ann: a chain with ReLUs; its layers are shared, as in n3ml.
        threshold: threshold of each neuron, in order. Default: 1.
        reset: ``"zero"`` or ``"subtract"``.
        batch_size: n3ml's argument; it has no effect.

    >>> snn_net = UnitNetwork(Diehl2015())
    >>> snn_net.update_threshold([0.5, 0.5, 0.5])
    >>> snn_net(torch.rand(2, 1, 28, 28), num_steps=3).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        ann: nn.Sequential,
        threshold: Sequence[float] | None = None,
        reset: str = "subtract",
        batch_size: int | None = None,
    ) -> None:
        def neuron() -> ScaledIF:
            return ScaledIF(init_hidden=True, reset_mechanism=reset, graded_spikes_factor=1.0)

        layers: dict[str, nn.Module] = {}
        for name, module in ann.named_children():
            if isinstance(module, nn.ReLU):
                layers[f"{name.removesuffix('_relu')}_if"] = neuron()
            elif not isinstance(module, dropout._DropoutNd):
                layers[name] = module
        super().__init__(OrderedDict({**layers, f"{next(reversed(layers))}_if": neuron()}))
        self.batch_size = batch_size
        if threshold is not None:
            self.update_threshold(threshold)

    @property
    def neurons(self) -> dict[str, ScaledIF]:
        """The neurons by name, in order."""
        return {
            name: module for name, module in self.named_children() if isinstance(module, ScaledIF)
        }

    def step(self) -> nn.Sequential:
        """One time step as a normal network with the same layers and neurons."""
        return nn.Sequential(OrderedDict(self.named_children()))

    def update_threshold(self, threshold: Sequence[float]) -> None:
        """Sets the threshold of each neuron, in order.

        Raises:
            ValueError: the number of neurons differs, or a threshold is not positive.
        """
        if len(threshold) != len(self.neurons):
            raise ValueError(
                f"there are {len(self.neurons)} neurons, got {len(threshold)} thresholds; pass one "
                "for each"
            )
        for neuron, value in zip(self.neurons.values(), threshold, strict=True):
            unit_threshold(neuron, torch.as_tensor(value))

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""One step of Poisson input, [B, ...]: a spike with the sign of x at rate \|x\|."""
        drawn = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (drawn < x.abs()).to(x.dtype) * x.sign()

    def forward(
        self, input: Tensor, num_steps: int = 0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Number of spikes of each output over ``num_steps`` steps of Poisson input, from rest.

        Args:
            input: samples, [B, ...]; magnitudes are probabilities and saturate at 1.
            num_steps: T.
            generator: source of the random spikes.

        Returns:
            [B, outputs].
        """
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(
                f"num_steps must be a positive integer, got {num_steps!r}; write num_steps=100"
            )
        net = self.step()
        counts = torch.zeros(())
        reset(net)
        for done in range(0, num_steps, SEGMENT):
            spikes = [self.encode(input, generator) for _ in range(min(SEGMENT, num_steps - done))]
            counts = counts.to(input.device) + run(net, torch.stack(spikes), reset=False).sum(0)
        reset(net)
        return counts


def unit_threshold(neuron: ScaledIF, value: Tensor) -> None:
    """Sets the threshold of a neuron with spikes of size 1."""
    checks.in_range(
        "threshold", value, 0.0, float("inf"), open_low=True, why="a neuron at rest would fire"
    )
    neuron.threshold = value.detach().to(neuron.threshold)


class SNN_Diehl2015(UnitNetwork):
    """The spiking `Diehl2015`: reset to zero, Poisson input, spike counts.

    >>> SNN_Diehl2015(batch_size=10)(torch.rand(3, 1, 28, 28), num_steps=2).shape
    torch.Size([3, 10])
    """

    def __init__(
        self, batch_size: int | None = None, threshold: Sequence[float] | None = None
    ) -> None:
        super().__init__(Diehl2015(), threshold, "zero", batch_size)


class SVGG16(UnitNetwork):
    """The spiking `VGG16`: reset by subtraction, signed Poisson input, spike counts.

    >>> len(SVGG16(VGG16()).neurons)
    16
    """

    def __init__(
        self,
        vgg16: nn.Sequential,
        batch_size: int | None = None,
        threshold: Sequence[float] | None = None,
    ) -> None:
        super().__init__(vgg16, threshold, "subtract", batch_size)


# -- thresholds ------------------------------------------------------------------------------------


def activation_based(train_loader: Any, model: nn.Module) -> list[float]:
    """Thresholds by data-based balancing, for `UnitNetwork.update_threshold`.

    The scale of a layer is its largest activation or weight over the samples, that of the input is
    1; the threshold of a layer is its scale divided by that of the previous layer, which has the
    same effect on spikes as the published rescaling of weights.

    Args:
        train_loader: samples, as for `convert`.
        model: the trained ordinary network, a chain.

    Returns:
        One threshold for each ReLU, and one for the last layer.

    Source: Diehl et al. (2015), Proc. IJCNN, algorithm 2.

    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> net[0].weight.data, net[2].weight.data = 3 * torch.eye(2), torch.ones(1, 2)
    >>> activation_based(torch.ones(5, 2), net)
    [3.0, 2.0]
    """
    gm, _ = ordinary(model, train_loader, readout="spikes")
    found = [1.0, *(float(v) for v in scales(gm, train_loader, "diehl_data", Settings()).values())]
    return [scale / before for before, scale in pairwise(found)]


def spikenorm(
    train_loader: Any,
    encoder: Callable[[Tensor], Tensor],
    model: UnitNetwork,
    num_steps: int,
    scaling_factor: float = 1.0,
) -> list[float]:
    """Thresholds by `spike_norm`, which are also set in the model.

    Args:
        train_loader: batches of samples, all of which are used.
        encoder: maps a batch to one step of input.
        model: the spiking network.
        num_steps: steps of each batch and layer.
        scaling_factor: factor of all thresholds at the end.

    Returns:
        One threshold for each neuron, in order.

    >>> net = UnitNetwork(nn.Sequential(nn.Linear(2, 1, bias=False)))
    >>> _ = net[0].weight.data.fill_(2.0)
    >>> spikenorm(torch.ones(3, 2), lambda x: x, net, num_steps=4, scaling_factor=0.5)
    [2.0]
    """
    data = batches(train_loader, model)
    found = spike_norm(
        model.step(),
        model.neurons,
        data,
        encoder,
        num_steps,
        scaling_factor=scaling_factor,
        balance=unit_threshold,
    )
    return [float(value) for value in found.values()]
