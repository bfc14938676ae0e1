"""Records sums over time at each neuron and each layer of a converted network while it runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import conv

from ..core.taps import Watch, tapped_by, untold
from ..functional.reg import fan_out
from .twin import SpikingTwin

__all__ = ["NeuronSums", "Operations", "neuron_sums", "operations"]


class NeuronSums:
    """Sums over time of the input and output of a neuron, [B, ...], and its number of spikes."""

    def __init__(self) -> None:
        self.received: Any = 0.0
        self.given: Any = 0.0
        self.spikes = 0

    def __call__(self, module: nn.Module, moment: Any) -> None:
        """Adds some steps."""
        constant = moment.x.dim() < moment.output.dim()
        received = moment.x * len(moment.output) if constant else moment.x.sum(0)
        self.received = self.received + received
        self.given = self.given + moment.output.sum(0)
        self.spikes += int((moment.output != 0).sum())


@contextmanager
def neuron_sums(converted: SpikingTwin) -> Iterator[dict[str, NeuronSums]]:
    """Records the inputs and outputs of all neurons inside the block, by path.

    >>> import spikeloom as snn
    >>> net = snn.conversion.convert(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.rand(9, 2))
    >>> with neuron_sums(net) as found:
    ...     mean = net(torch.rand(4, 2), num_steps=5)
    >>> torch.allclose(found["1"].given / 5, mean)
    True
    """
    found = {path: NeuronSums() for path in converted.neurons}
    with ExitStack() as stack:
        for path, neuron in converted.neurons.items():
            stack.enter_context(tapped_by(neuron, found[path]))
        yield found


class Operations:
    """Multiply-accumulates of a layer for numbers and additions for spikes, over all samples."""

    def __init__(self) -> None:
        self.fan_out: Tensor | None = None  # synapses of each input element
        self.analog = 0.0  # multiply-accumulates of an input that is constant in time, once
        self.synaptic = 0.0  # one for each spike and synapse

    def __call__(self, module: nn.Module, moment: Any) -> None:
        """Adds some steps."""
        x = moment.x.detach()
        one = x[0] if moment.timed else x
        if self.fan_out is None:
            with untold(module):
                self.fan_out = fan_out(module, one.shape[1:])
        if not moment.timed:
            self.analog = self.fan_out.sum().item() * len(one)
            return
        active = (x != 0).to(self.fan_out.dtype).sum((0, 1))
        self.synaptic += (active * self.fan_out).sum().item()


@contextmanager
def operations(converted: SpikingTwin) -> Iterator[dict[str, Operations]]:
    """Counts the operations of each layer with weights inside the block, by path."""
    layers = {
        p: m for p, m in converted.net.named_modules() if isinstance(m, (nn.Linear, conv._ConvNd))
    }
    found = {path: Operations() for path in layers}
    handles = [module.register_forward_hook(Watch(found[path])) for path, module in layers.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
