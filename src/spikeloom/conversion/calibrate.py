"""Calibration of mean rates on samples by a constant current or an initial membrane."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from ..core.taps import tapped_by
from ..neurons.scaled_if import ScaledIF
from .sample_batches import batches
from .twin import OrdinaryTwin, SpikingTwin

__all__ = ["CALIBRATIONS", "calibrated"]

CALIBRATIONS = ("bias", "potential", "both")


@torch.no_grad()
def calibrated(
    converted: SpikingTwin, data: Any, what: str, generator: torch.Generator | None = None
) -> None:
    """Corrects each layer in turn, so that its mean rate over the samples is the mean activation.

    ``"bias"`` adds a constant current to each channel, ``"potential"`` shifts the initial membrane
    of each neuron, and ``"both"`` does the first in all layers and then the second.

    Args:
        converted: the network, modified in place.
        data: samples, a few hundred.
        what: ``"bias"``, ``"potential"`` or ``"both"``.
        generator: source of the random spikes of Poisson input.

    Source: Li et al. (2021), A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural
    Networks Calibration, ICML, section 4: light calibration and the correction of potentials.

    >>> import spikeloom as snn
    >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> net = snn.conversion.convert(ann, torch.rand(100, 4), calibrate="bias")
    >>> net.neurons["1"].current.shape
    torch.Size([8])
    """
    samples = list(batches(data, converted))
    steps = converted.settings.num_steps
    wanted = _activations(converted, samples)
    kinds = ("bias", "potential") if what == "both" else (what,)
    for kind, (path, neuron) in itertools.product(kinds, converted.neurons.items()):
        missing = wanted[path] - _rates(converted, neuron, samples, steps, generator)
        if kind == "bias":
            neuron.current = neuron.current + _by_channel(missing)
        else:
            neuron.initial_mem = neuron.initial_mem + steps * missing / neuron.threshold


def _by_channel(values: Tensor) -> Tensor:
    """Means over the positions of each channel, [C, 1, ...]."""
    return values if values.dim() == 1 else values.mean(tuple(range(1, values.dim())), keepdim=True)


def _activations(converted: SpikingTwin, samples: list[Tensor]) -> dict[str, Tensor]:
    """Mean activation of each unit of the ordinary network, by path of the neuron."""
    total: dict[str, Any] = dict.fromkeys(converted.neurons, 0.0)
    for x in samples:
        twin = OrdinaryTwin(converted, record=True)
        twin.run(x)
        for path in total:
            total[path] = total[path] + twin.values[path].sum(0)
    return {path: value / sum(map(len, samples)) for path, value in total.items()}


def _rates(
    converted: SpikingTwin,
    neuron: ScaledIF,
    samples: list[Tensor],
    steps: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Mean output of each neuron of a layer, over steps and samples."""
    totals: list[Tensor] = []

    def tap(module: nn.Module, moment: Any) -> None:
        totals.append(moment.output.sum((0, 1)))

    with tapped_by(neuron, tap):
        for x in samples:
            for _ in converted.segments(x, steps, generator):
                pass
    return torch.stack(totals).sum(0) / (steps * sum(map(len, samples)))
