"""What passes through a converted network while it runs, told by taps: sums over time at each
neuron and each layer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import conv

from ..core.taps import Watch, untold
from .calibrate import tapped_by
from .twin import OrdinaryTwin, SpikingTwin

__all__ = ["Flow", "Operations", "flows", "operations", "ordinary_flows"]


class Flow:
    """Sums over time of what a neuron receives and gives, [B, ...], and the number of its
    spikes."""

    def __init__(self) -> None:
        self.received: Any = 0.0
        self.given: Any = 0.0
        self.spikes = 0

    def __call__(self, module: nn.Module, moment: Any) -> None:
        """Add a stretch of time."""
        timed = moment.x.dim() == moment.output.dim()  # else the input was the same at every step
        self.received = self.received + (
            moment.x.sum(0) if timed else moment.x * len(moment.output)
        )
        self.given = self.given + moment.output.sum(0)
        self.spikes += int((moment.output != 0).sum())


@contextmanager
def flows(converted: SpikingTwin) -> Iterator[dict[str, Flow]]:
    """Collect, inside the block, what the neurons receive and give, by path.

    >>> import spikeloom as snn
    >>> net = snn.conversion.convert(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.rand(9, 2))
    >>> with flows(net) as found:
    ...     mean = net(torch.rand(4, 2), num_steps=5)
    >>> torch.allclose(found["1"].given / 5, mean)
    True
    """
    found = {path: Flow() for path in converted.neurons}
    with ExitStack() as stack:
        for path, neuron in converted.neurons.items():
            stack.enter_context(tapped_by(neuron, found[path]))
        yield found


def ordinary_flows(converted: SpikingTwin, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The activation at the place of each neuron in the ordinary network, and its output before the
    head."""
    found: dict[str, Tensor] = {}

    class Watching(OrdinaryTwin):
        def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if target in converted.neurons:
                found[target] = converted.stands_for[target](args[0])
            return super().call_module(target, args, kwargs)

    return found, Watching(converted).run(x)


# -- operations ------------------------------------------------------------------------------------


class Operations:
    """Multiply-accumulates of a layer for numbers, and its additions for spikes, over all
    samples."""

    def __init__(self) -> None:
        self.fan_out: Tensor | None = None  # synapses of each input element
        self.dense = 0.0  # of the ordinary network
        self.analog = 0.0  # of an input that is constant in time, once
        self.synaptic = 0.0  # one for each spike and synapse

    def __call__(self, module: nn.Module, moment: Any) -> None:
        """Add a stretch of time."""
        x = moment.x.detach()
        one = x[0] if moment.timed else x
        if self.fan_out is None:
            self.fan_out = fan_out(module, one[:1])
        if not moment.timed:
            self.analog = self.fan_out.sum().item() * len(one)
            return
        active = (x != 0).to(self.fan_out.dtype).sum((0, 1))
        self.synaptic += (active * self.fan_out).sum().item()


def fan_out(layer: nn.Module, x: Tensor) -> Tensor:
    """How many synapses each element of an input [1, ...] has, borders respected.

    >>> fan_out(nn.Conv1d(1, 2, 3, padding=1), torch.zeros(1, 1, 4))
    tensor([[4., 6., 6., 4.]])
    """
    values = {
        n: torch.ones_like(p) if p.dim() > 1 else torch.zeros_like(p)
        for n, p in layer.named_parameters()
    }
    with torch.enable_grad(), untold(layer):
        probe = torch.zeros_like(x).requires_grad_()
        return torch.autograd.grad(functional_call(layer, values, (probe,)).sum(), probe)[0][0]


@contextmanager
def operations(converted: SpikingTwin) -> Iterator[dict[str, Operations]]:
    """Count, inside the block, the operations of each layer with weights, by path."""
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
