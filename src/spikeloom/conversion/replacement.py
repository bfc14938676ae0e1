"""The last pass: replaces activations by neurons, and max pooling by its spiking counterpart."""

from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules import pooling

from ..neurons.scaled_if import ScaledIF
from ..neurons.signed_if import SignedIF
from .activations import SITES, OutputActivation
from .check import head_of
from .fx_graph import called, name_of, put
from .sample_batches import home_of
from .spiking_max_pool import SpikingMaxPool

__all__ = ["spiking", "with_readout", "without_head"]

READOUT = "readout"


def without_head(gm: fx.GraphModule) -> nn.Module | None:
    """Removes the softmax that is the last operation, and returns it as a module."""
    node = head_of(gm)
    if node is None:
        return None
    source = node.all_input_nodes[0]
    if node.op == "call_module":
        head = gm.get_submodule(str(node.target))
    else:
        dim: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else -1)
        head = nn.LogSoftmax(dim) if "log" in name_of(node) else nn.Softmax(dim)
    node.replace_all_uses_with(source)
    gm.graph.erase_node(node)
    gm.recompile()
    return head


def with_readout(gm: fx.GraphModule) -> fx.GraphModule:
    """Adds an activation behind the last layer, whose neuron makes the output spikes."""
    output = next(node for node in gm.graph.nodes if node.op == "output")
    source: Any = output.args[0]
    with gm.graph.inserting_before(output):
        node = gm.graph.call_module(put(gm, READOUT, OutputActivation()), (source,))
    node.meta = dict(source.meta)
    output.args = (node,)
    gm.recompile()
    return gm


def spiking(gm: fx.GraphModule, scales: dict[str, Tensor], settings: Any) -> dict[str, nn.Module]:
    """Replaces activations and max pooling of a graph by spiking modules.

    Args:
        gm: the normalised graph of the ordinary network; it becomes one step of the spiking one.
        scales: threshold of each activation, by path.
        settings: settings of the conversion.

    Returns:
        The replaced modules by path.
    """
    before: dict[str, nn.Module] = {}
    home = home_of(gm)
    for node, module in called(gm, *SITES, pooling._MaxPoolNd, pooling._AdaptiveMaxPoolNd):
        path = str(node.target)
        if isinstance(module, SITES):
            neuron = SignedIF if settings.signed else ScaledIF
            new: nn.Module = neuron(
                scales[path].to(*home),
                settings.initial_mem,
                init_hidden=True,
                reset_mechanism=settings.reset,
            )
        else:
            new = SpikingMaxPool(module, settings.max_pool)
        if path in before:  # a pooling that is called twice needs a state for each call
            path = put(gm, path, new)
            node.target = path
        else:
            gm.set_submodule(path, new)
        before[path] = module
    gm.graph.lint()
    gm.recompile()
    return before
