"""The report on a conversion: accuracy after each step, errors, operations, early exit."""

import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule

from ..core import checks
from ..core.notebook import Printed
from ..files import atomic
from .error_parts import LayerError, Sums, parts_of
from .observe import neuron_sums, operations
from .sample_batches import labelled
from .twin import OrdinaryTwin, SpikingTwin

__all__ = ["Exit", "Report", "report"]

CONFIDENCES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)


class Exit(NamedTuple):
    """The result of early exit at a confidence.

    Attributes:
        confidence: probability at which a sample stops, in (0, 1).
        accuracy: fraction of samples classified correctly.
        steps: mean number of steps.

    >>> Exit(0.9, 0.98, 2.3).steps
    2.3
    """

    confidence: float
    accuracy: float
    steps: float


@dataclass(frozen=True)
class Report(Printed):
    """The result of `Converted.report`; it prints as a table.

    Attributes:
        samples: number of test samples.
        ann_accuracy: accuracy of the ordinary network, a fraction.
        accuracy: accuracies of the spiking network after 1, 2, ... steps.
        tolerance: accepted loss of accuracy.
        enough: the smallest number of steps with an accuracy within the tolerance, or None.
        steps: T of the following values.
        layers: error of each layer after T steps and its parts.
        output_error: root mean square error of the output, relative to that of the ordinary output.
        spikes: spikes of all neurons per sample over T steps.
        synaptic_operations: pairs of a spike and a synapse that it reaches, per sample.
        analog_operations: multiply-accumulates of constant input per sample, once for all steps.
        macs: multiply-accumulates of the ordinary network per sample.
        exits: accuracy and mean number of steps with early exit, within the steps of ``accuracy``.
        settings: settings of the conversion.

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
        from .report_views import text

        return text(self)

    def to_dict(self) -> dict[str, Any]:
        """The report as numbers, strings, lists and dictionaries."""
        found = asdict(self)
        return {
            **found,
            "layers": [e._asdict() for e in self.layers],
            "exits": [e._asdict() for e in self.exits],
        }

    def save(self, path: "str | PathLike[str]") -> Path:
        """Writes the report as JSON, atomically."""
        with atomic(Path(path)) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        return Path(path)

    def plot(self, path: "str | PathLike[str] | None" = None) -> Any:
        """Draws accuracy over time, errors by layer and kind, and early exit; needs matplotlib.

        Args:
            path: picture to write, or None.

        Returns:
            The figure.
        """
        from .report_views import picture

        figure = picture(self)
        if path is not None:
            with atomic(Path(path)) as temporary:
                figure.savefig(temporary)
        return figure


def driving_layer(net: GraphModule, path: str) -> str:
    """Class and path of the nearest layer of weights before a neuron; empty if there is none."""
    reached = [node for node in net.graph.nodes if node.target == path]
    for node in reached:  # grows: breadth first, against the direction of the graph
        module = net.get_submodule(str(node.target)) if node.op == "call_module" else None
        if getattr(module, "weight", None) is not None:
            return f"{type(module).__name__} {node.target}"
        reached += [before for before in node.all_input_nodes if before not in reached]
    return ""


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
    """Implements `Converted.report`."""
    numbers = {"max_steps": max_steps, "samples": samples, "steps": 1 if steps is None else steps}
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}; write {name}=32")
    checks.in_range("tolerance", tolerance, 0.0, 1.0, why="it is a fraction: 0.005 is half a point")
    right = torch.zeros(max_steps)
    ann_right = 0
    number = 0
    exits = [[0.0, 0.0] for _ in CONFIDENCES]
    examined: list[Tensor] = []
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
        if sum(map(len, examined)) < samples:
            examined.append(x)
    accuracy = tuple((right / number).tolist())
    ann_accuracy = ann_right / number
    enough = next((t for t, a in enumerate(accuracy, 1) if a >= ann_accuracy - tolerance), None)
    chosen = steps or enough or converted.settings.num_steps
    return Report(
        samples=number,
        ann_accuracy=ann_accuracy,
        accuracy=accuracy,
        tolerance=tolerance,
        enough=enough,
        steps=chosen,
        exits=tuple(
            Exit(c, a / number, t / number) for c, (a, t) in zip(CONFIDENCES, exits, strict=True)
        ),
        settings=asdict(converted.settings),
        **_budget(converted, torch.cat(examined)[:samples], chosen, generator),
    )


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
    """Softmax of outputs, unless the head of the network already applies it."""
    if converted.head is None:
        return outputs.softmax(-1)
    return outputs.exp() if isinstance(converted.head, torch.nn.LogSoftmax) else outputs


def exit_steps(probability: Tensor, confidence: float) -> Tensor:
    """First step, from 0, at which a class reaches a probability, or else the last step; [B].

    >>> exit_steps(torch.tensor([[[0.6, 0.4]], [[0.8, 0.2]], [[0.7, 0.3]]]), 0.75)
    tensor([1])
    """
    sure = probability.amax(-1) >= confidence
    first = sure.to(torch.uint8).argmax(0)
    return torch.where(sure.any(0), first, len(probability) - 1)


def _budget(
    converted: SpikingTwin, x: Tensor, steps: int, generator: torch.Generator | None
) -> dict[str, Any]:
    """Errors of layers and output, spikes and operations on some samples, by fields of `Report`."""
    sums = {path: Sums() for path in converted.neurons}
    spikes = dict.fromkeys(converted.neurons, 0)
    squared_error = 0.0
    squared_output = 0.0
    synaptic = 0.0
    analog = 0.0
    macs = 0.0
    for part in x.split(64):
        with neuron_sums(converted) as found, operations(converted) as layers:
            result = converted._mean_output(part, steps, generator)
        twin = OrdinaryTwin(converted, record=True)
        ann_output = twin.run(part)
        for path, neuron in converted.neurons.items():
            z = found[path].received / steps
            rate = found[path].given / steps
            wanted = twin.values[path]
            parts = parts_of(neuron, converted.stands_for[path], z, rate, wanted, steps)
            sums[path].add(parts, rate, wanted)
            spikes[path] += found[path].spikes
        if "readout" not in converted.neurons:
            squared_error += float((result - ann_output).double().square().sum())
            squared_output += float(ann_output.double().square().sum())
        for layer in layers.values():
            synaptic += layer.synaptic
            analog += layer.analog
            if layer.fan_out is not None:
                macs += layer.fan_out.sum().item() * len(part)
    errors = tuple(
        sums[path].error(path, spikes[path] / len(x), driving_layer(converted.net, path))
        for path in converted.neurons
    )
    output_error = errors[-1].error if errors else 0.0
    if squared_output:
        output_error = (squared_error / squared_output) ** 0.5
    return {
        "layers": errors,
        "output_error": output_error,
        "spikes": sum(spikes.values()) / len(x),
        "synaptic_operations": synaptic / len(x),
        "analog_operations": analog / len(x),
        "macs": macs / len(x),
    }
