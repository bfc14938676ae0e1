"""NeuroBench for networks of this library."""

from typing import Any

from torch import Tensor, nn

from ..core.checks import require
from ..core.neuron import Neuron
from ..core.numbers import network
from ..running import run

__all__ = ["neurobench"]


def neurobench(net: nn.Module) -> Any:
    """Wrap a network of one step for ``neurobench.benchmarks.Benchmark``.

    All static and workload metrics give the figures that they give for the same network of
    snnTorch, with one exception: ``Footprint`` counts buffers, and snnTorch keeps the state of its
    neurons there. Input of NeuroBench has the batch first, [B, T, ...], and so has the output.

    Args:
        net: the network; its first output are spikes [B, N]. It is in evaluation mode from now on.

    Returns:
        A ``NeuroBenchModel``.

    Raises:
        ImportError: neurobench is not installed.
        TypeError: ``net`` is no module.

    Source: Yik et al. (2025), Nature Communications 16, 1545, "The neurobench framework".

    >>> neurobench("net")
    Traceback (most recent call last):
    TypeError: ...
    """
    network(net)
    models = require("neurobench.models", extra="bench", purpose="benchmarking with NeuroBench")
    hooks = require("neurobench.hooks.neuron", extra="bench", purpose="NeuroBench")

    class SpikeloomModel(models.NeuroBenchModel):
        """A network that runs layer by layer under the hooks of NeuroBench."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net.eval()
            self.add_activation_module(Neuron)

        def __call__(self, data: Tensor) -> Tensor:
            output = run(self.net, data.transpose(0, 1))
            output = output[0] if isinstance(output, tuple) else output
            return output.transpose(0, 1)

        def __net__(self) -> nn.Module:
            return self.net

        def register_hooks(self) -> None:
            super().register_hooks()
            for hook in self.activation_hooks:
                if isinstance(hook, hooks.NeuronHook) and isinstance(hook.layer, Neuron):
                    hook.spiking = (
                        True  # else membranes are not read: the test is for snnTorch's class
                    )

    return SpikeloomModel()
