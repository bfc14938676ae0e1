"""One training job: a network with all that is needed to run, judge and change it, checked before
work begins."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..chaos import Chaos
from ..core.numbers import network
from ..core.tree import named_neurons, reset
from ..kernels.events.choice import by_input_alone
from ..run import run
from .encoding import Encoder
from .models import is_spiking
from .readout import Readout, one_number
from .samples import Samples

__all__ = ["Job", "Probe", "device_of", "fork_random_state", "probe"]


@dataclass(frozen=True)
class Job:
    """A network and how it is trained on what.

    Attributes:
        net: one step of the network.
        optimizer: of its parameters.
        samples: training and test data.
        encoder: from samples to input over time.
        readout: loss and prediction.
        epochs: passes over the training samples.
        schedule: share of the training that is done, in [0, 1), to a factor of the learning rate.
        seed: of all random draws.
        layers: paths of the spiking neurons.
        last: path of the last neuron.
        chaos: the chaotic loss attached to the network, or None.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    samples: Samples
    encoder: Encoder
    readout: Readout
    epochs: int
    schedule: Callable[[float], float]
    seed: int
    layers: tuple[str, ...]
    last: str
    chaos: Chaos | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the loss reads, [T, B, N], and the spikes of each layer, [T, B, ...], for samples
        [B, ...]."""
        return self.run(*self.encoder.call(x))

    def run(
        self, x: Tensor, num_steps: int | None, *, reset: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, for input over time [T, B, ...], or [B, ...] that is the same at each of
        ``num_steps``."""
        membrane = [f"{self.last}.mem"] if self.readout.field == "mem" else []
        names = [*(f"{path}.spk" for path in self.layers), *membrane]
        with (
            by_input_alone()
        ):  # what earlier batches looked like must not matter: a resumed run has not seen them
            result = run(self.net, x, num_steps, record=names, reset=reset)
        spikes = {path: result.record[f"{path}.spk"] for path in self.layers}
        output = result.output[0] if isinstance(result.output, tuple) else result.output
        return result.record[membrane[0]] if membrane else output, spikes

    def output_of(self, step: Any) -> Tensor:
        """What the loss reads of the output of one step, [B, N].

        Raises:
            TypeError: it reads membranes, and the network returns spikes only.
        """
        if self.readout.field == "spk":
            return step[0] if isinstance(step, tuple) else step
        last: Any = self.net.get_submodule(self.last)
        fields = [name for name in last.State._fields if name != "spk"]
        if not isinstance(step, tuple) or len(step) != 1 + len(fields):
            raise TypeError(
                f"{self.readout.name} reads membranes, got a network that returns "
                f"{type(step).__name__}; "
                "build its last neuron with output=True"
            )
        return step[1 + fields.index("mem")]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss as a scalar."""
        return one_number(self.readout.loss(outputs, labels), self.readout.name)

    def measure(self, x: Tensor) -> None:
        """Measure how strongly the chaotic loss feeds back, on samples [B, ...], if it has not been
        done yet."""
        chaos = self.chaos
        if chaos is None or chaos.gains or chaos.settings.strength.value == 0.0:
            return
        if isinstance(self.optimizer, torch.optim.SGD):
            with fork_random_state(self.device):
                value, num_steps = self.encoder.call(x)
                chaos.calibrate(value, num_steps)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return device_of(self.net)


class Probe(NamedTuple):
    """What one small batch tells about a network.

    Attributes:
        multiply_adds: of the forward pass of one sample, in products with weights.
        num_steps: T.
        layers: number of neurons of each spiking layer.
        classes: that the outputs stand for.
    """

    multiply_adds: int
    num_steps: int
    layers: dict[str, int]
    classes: int


def device_of(net: nn.Module) -> torch.device:
    """Device of the first parameter.

    >>> device_of(nn.Linear(1, 1))
    device(type='cpu')
    """
    return next(net.parameters()).device


def fork_random_state(device: torch.device) -> AbstractContextManager[Any]:
    """Random draws inside the block leave torch's global generators outside as they were.

    >>> before = torch.get_rng_state()
    >>> with fork_random_state(torch.device("cpu")):
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def spiking_layers(net: Any) -> tuple[tuple[str, ...], str]:
    """Paths of the spiking neurons of a network, and of its last neuron.

    Raises:
        TypeError: ``net`` is no module.
        ValueError: it has nothing to train, or no neuron.

    >>> import spikeloom as snn
    >>> spiking_layers(nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9, init_hidden=True)))
    (('1',), '1')
    """
    network(net)
    if not any(p.requires_grad for p in net.parameters()):
        raise ValueError(
            "net must have parameters that require a gradient, got none; add an nn.Linear"
        )
    every = list(named_neurons(net))
    if not every:
        raise ValueError(
            "net must have at least one spiking neuron, got none; "
            "add snn.Leaky(beta=0.9, init_hidden=True) after each linear layer"
        )
    return tuple(path for path, neuron in every if is_spiking(neuron)), every[-1][0]


def probe(job: Job) -> Probe:
    """Run a few test samples through the network, in order to check it before the training and to
    count its work.

    Raises:
        ValueError: samples do not suit the encoding, outputs are not [T, B, classes], or a label
            has no output.
    """
    from torch.utils.flop_counter import FlopCounterMode

    x, (low, high) = job.samples.example[:2].to(job.device), job.samples.span
    if job.encoder.in_unit and not (low >= 0 and high <= 1):
        raise ValueError(
            f'encode="{job.encoder.name}" takes probabilities in [0, 1], got samples from {low:g} '
            f"to {high:g}; "
            "scale them, e.g. x / x.max()"
        )
    training = job.net.training
    job.net.eval()
    try:
        with (
            fork_random_state(job.device),
            torch.no_grad(),
            FlopCounterMode(display=False) as counter,
        ):
            outputs, spikes = job.forward(x)
    finally:
        job.net.train(training)
        reset(job.net)
    if outputs.dim() != 3:
        raise ValueError(
            f"the network must return [T, B, classes], got {tuple(outputs.shape)}; end it with "
            "nn.Flatten(), nn.Linear(features, classes) and a neuron with init_hidden=True, "
            "output=True"
        )
    classes = job.readout.num_classes or outputs.shape[-1]
    highest = job.samples.highest
    if highest is not None and highest >= classes:
        raise ValueError(
            f"the labels reach {highest}, so that the network needs {highest + 1} outputs, got "
            f"{classes}; "
            f"change the last layer to {highest + 1} outputs, or the labels to 0 ... {classes - 1}"
        )
    layers = {path: spk[0, 0].numel() for path, spk in spikes.items()}
    return Probe(counter.get_total_flops() // 2 // len(x), len(outputs), layers, classes)
