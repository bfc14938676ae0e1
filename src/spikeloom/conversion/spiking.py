"""The last pass: neurons in the place of activations, maxima over time in the place of max
pooling."""

from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules import pooling

from ..neurons.scaled_if import ScaledIF
from ..neurons.signed_if import SignedIF
from .activations import SITES, Readout
from .check import head_of
from .graph import called, put
from .pooling import SpikingMaxPool
from .samples import home_of

__all__ = ["spiking", "with_readout", "without_head"]

READOUT = "readout"


def without_head(gm: fx.GraphModule) -> nn.Module | None:
    """Take the softmax that is the last operation out of the graph, and return it as a module."""
    node = head_of(gm)
    if node is None:
        return None
    source = node.all_input_nodes[0]
    if node.op == "call_module":
        head = gm.get_submodule(str(node.target))
    else:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else -1)
        head = (nn.LogSoftmax if "log" in name else nn.Softmax)(dim)  # pyright: ignore[reportArgumentType] (an integer)
    node.replace_all_uses_with(source)
    gm.graph.erase_node(node)
    gm.recompile()
    return head


def with_readout(gm: fx.GraphModule) -> fx.GraphModule:
    """Let the last layer end in an activation, whose neuron's spikes will be the output."""
    output = next(node for node in gm.graph.nodes if node.op == "output")
    source: Any = output.args[0]
    with gm.graph.inserting_before(output):
        node = gm.graph.call_module(put(gm, READOUT, Readout()), (source,))
    node.meta = dict(source.meta)
    output.args = (node,)
    gm.recompile()
    return gm


def spiking(gm: fx.GraphModule, scales: dict[str, Tensor], settings: Any) -> dict[str, nn.Module]:
    """Put neurons and spiking max pooling into a graph.

    Args:
        gm: the normalised graph of the ordinary network; it becomes one step of the spiking one.
        scales: threshold of each activation, by path.
        settings: of the conversion.

    Returns:
        What each replaced module was, by path.
    """
    before: dict[str, nn.Module] = {}
    home = home_of(gm)
    for node, module in called(gm, *SITES, pooling._MaxPoolNd, pooling._AdaptiveMaxPoolNd):
        path = str(node.target)
        if isinstance(module, SITES):
            new: nn.Module = (SignedIF if settings.signed else ScaledIF)(
                scales[path].to(*home),
                settings.initial_mem,
                init_hidden=True,
                reset_mechanism=settings.reset,
            )
        else:
            new = SpikingMaxPool(module, settings.max_pool)
        parent, _, name = path.rpartition(".")
        if path in before:  # a pooling that is called twice keeps a state for each call
            node.target = put(gm, path, new)
            before[str(node.target)] = module
            continue
        setattr(gm.get_submodule(parent) if parent else gm, name, new)
        before[path] = module
    gm.graph.lint()
    gm.recompile()
    return before
