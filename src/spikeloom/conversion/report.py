"""What a conversion loses and costs: accuracy after each step, errors by layer and kind,
operations, early exit."""

import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..files import atomic
from .errors import LayerError, Sums, parts_of
from .observe import flows, operations, ordinary_flows
from .samples import labelled
from .twin import SpikingTwin

__all__ = ["Exit", "Report", "report"]

CONFIDENCES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)


class Exit(NamedTuple):
    """Stopping each sample as soon as the softmax of its output exceeds a confidence.

    Attributes:
        confidence: in (0, 1).
        accuracy: fraction of samples classified correctly.
        steps: mean number of steps.

    >>> Exit(0.9, 0.98, 2.3).steps
    2.3
    """

    confidence: float
    accuracy: float
    steps: float


@dataclass(frozen=True)
class Report:
    """What `Converted.report` found; printing it gives a table.

    Attributes:
        samples: number of test samples.
        ann_accuracy: of the ordinary network, a fraction.
        accuracy: of the spiking network after 1, 2, ... steps.
        tolerance: accepted loss of accuracy.
        enough: the smallest number of steps whose accuracy is within the tolerance; None if none
            was.
        steps: T of what follows.
        layers: error of each layer after T steps and its parts.
        output_error: root mean square error of the output, over the ordinary output's.
        spikes: of all neurons, for a sample over T steps.
        synaptic_operations: for a sample: each spike once for each synapse that it reaches.
        analog_operations: multiply-accumulates for a sample on an input that is constant, once for
            all steps.
        macs: multiply-accumulates of the ordinary network for a sample.
        exits: accuracy and mean number of steps with early exit, within as many steps as
            ``accuracy`` has.
        settings: of the conversion.

    >>> Report(10, 1.0, (0.5, 1.0), 0.005, 2, 2, (), 0.1, 3.0, 20.0, 5.0, 40.0, (), {}).enough
    2
    """

    samples: int
    ann_accuracy: float
    accuracy: tuple[float, ...]
    tolerance: float
    enough: int | None
    steps: int
    layers: tuple[LayerError, ...]
    output_error: float
    spikes: float
    synaptic_operations: float
    analog_operations: float
    macs: float
    exits: tuple[Exit, ...]
    settings: dict[str, Any]

    def __str__(self) -> str:
        from .tables import text

        return text(self)

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dictionaries."""
        found = asdict(self)
        return {
            **found,
            "layers": [e._asdict() for e in self.layers],
            "exits": [e._asdict() for e in self.exits],
        }

    def save(self, path: "str | PathLike[str]") -> Path:
        """Write it as JSON, atomically."""
        with atomic(Path(path)) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        return Path(path)

    def plot(self, path: "str | PathLike[str] | None" = None) -> Any:
        """Draw accuracy over time, errors by layer and kind, and early exit; needs matplotlib.

        Args:
            path: picture to write; None: none.

        Returns:
            The figure.
        """
        from .tables import picture

        figure = picture(self)
        if path is not None:
            with atomic(Path(path)) as temporary:
                figure.savefig(temporary, dpi=120)
        return figure


@torch.no_grad()
def report(
    converted: SpikingTwin,
    data: Any,
    *,
    max_steps: int = 32,
    tolerance: float = 0.005,
    steps: int | None = None,
    samples: int = 256,
    generator: torch.Generator | None = None,
) -> Report:
    """See `Converted.report`."""
    for name, value in (
        ("max_steps", max_steps),
        ("samples", samples),
        ("steps", 1 if steps is None else steps),
    ):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}; write {name}=32")
    checks.in_range("tolerance", tolerance, 0.0, 1.0, why="it is a fraction: 0.005 is half a point")
    right, ann_right, number = torch.zeros(max_steps), 0, 0
    exits = [[0.0, 0.0] for _ in CONFIDENCES]
    kept: list[Tensor] = []
    for x, y in labelled(data, converted):
        ann_right += int((converted.ann(x).argmax(-1) == y).sum())
        outputs = converted(x, max_steps, trace=True, generator=generator)
        correct = outputs.argmax(-1) == y
        right += correct.sum(1).cpu()
        for sums, confidence in zip(exits, CONFIDENCES, strict=True):
            at = exit_steps(probabilities(converted, outputs), confidence)
            sums[0] += float(correct.gather(0, at[None]).sum())
            sums[1] += float((at + 1).sum())
        number += len(x)
        if sum(map(len, kept)) < samples:
            kept.append(x)
    curve = tuple((right / number).tolist())
    enough = next((t for t, a in enumerate(curve, 1) if a >= ann_right / number - tolerance), None)
    chosen = steps or enough or converted.settings.num_steps
    errors, output_error, *costs = _budget(converted, torch.cat(kept)[:samples], chosen, generator)
    stops = tuple(
        Exit(c, a / number, t / number) for c, (a, t) in zip(CONFIDENCES, exits, strict=True)
    )
    accuracy = (number, ann_right / number, curve, tolerance, enough)
    spikes, synaptic, analog, macs = costs
    loss = (chosen, errors, output_error, spikes, synaptic, analog, macs)
    return Report(*accuracy, *loss, stops, asdict(converted.settings))


def early_exit(
    converted: SpikingTwin,
    x: Tensor,
    confidence: float,
    num_steps: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """See `Converted.early_exit`."""
    checks.in_range("confidence", confidence, 0.0, 1.0, open_low=True, why="it is a probability")
    outputs = converted(x, num_steps, trace=True, generator=generator)
    at = exit_steps(probabilities(converted, outputs), confidence)
    return outputs[at, torch.arange(len(x), device=x.device)], at + 1


def probabilities(converted: SpikingTwin, outputs: Tensor) -> Tensor:
    """Softmax of outputs, unless the network has one of its own."""
    if converted.head is None:
        return outputs.softmax(-1)
    return outputs.exp() if isinstance(converted.head, torch.nn.LogSoftmax) else outputs


def exit_steps(probability: Tensor, confidence: float) -> Tensor:
    """The first step, from 0, at which a class has this probability, or else the last one; [B].

    >>> exit_steps(torch.tensor([[[0.6, 0.4]], [[0.8, 0.2]], [[0.7, 0.3]]]), 0.75)
    tensor([1])
    """
    sure = probability.amax(-1) >= confidence
    first = sure.to(torch.uint8).argmax(0)
    return torch.where(sure.any(0), first, len(probability) - 1)


def _budget(
    converted: SpikingTwin, x: Tensor, steps: int, generator: torch.Generator | None
) -> Any:
    """Errors by layer, error of the output, spikes and operations, on some samples."""
    sums = {path: Sums() for path in converted.neurons}
    spikes = dict.fromkeys(converted.neurons, 0)
    output = [0.0, 0.0]
    totals = [0.0, 0.0, 0.0]
    for part in x.split(64):
        with flows(converted) as found, operations(converted) as layers:
            result = converted._mean_output(part, steps, generator)
        wanted, ann_output = ordinary_flows(converted, part)
        for path, neuron in converted.neurons.items():
            z, rate = found[path].received / steps, found[path].given / steps
            parts = parts_of(neuron, converted.stands_for[path], z, rate, wanted[path], steps)
            sums[path].add(parts, rate, wanted[path])
            spikes[path] += found[path].spikes
        if "readout" not in converted.neurons:
            output[0] += float((result - ann_output).double().square().sum())
            output[1] += float(ann_output.double().square().sum())
        for layer in layers.values():
            totals[0] += layer.synaptic
            totals[1] += layer.analog
            totals[2] += 0.0 if layer.fan_out is None else layer.fan_out.sum().item() * len(part)
    errors = tuple(sums[path].error(path, spikes[path] / len(x)) for path in converted.neurons)
    last = (output[0] / output[1]) ** 0.5 if output[1] else (errors[-1].error if errors else 0.0)
    return errors, last, sum(spikes.values()) / len(x), *(total / len(x) for total in totals)
