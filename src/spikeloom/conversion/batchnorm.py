"""Batch norm in evaluation mode is a scale and a shift for each channel: folded into the layer
before, or written out.

Where it follows a linear layer or convolution that nothing else reads, it becomes part of that
layer's weights. Before a convolution, behind a ReLU or a sum it stays a product and a sum of its
own, which spikes pass like any linear layer.
"""

import copy
import operator

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import batchnorm

from .graph import called, place, put

__all__ = ["folded"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def folded(gm: fx.GraphModule) -> fx.GraphModule:
    """Take every batch norm out of the graph; the function stays the same up to rounding.

    Args:
        gm: a `shaped` graph.

    Raises:
        ValueError: a batch norm has no running statistics.

    >>> from spikeloom.conversion.graph import shaped, traced
    >>> net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3))
    >>> gm = folded(shaped(traced(net), torch.zeros(1, 2)))
    >>> [type(gm.get_submodule(n.target)).__name__ for n in gm.graph.nodes if n.op == "call_module"]
    ['Linear']
    """
    for node, norm in called(gm, batchnorm._BatchNorm):
        if norm.running_mean is None:
            raise ValueError(
                f"{place(gm, node)} takes the statistics of each batch "
                "(track_running_stats=False), which a spiking network cannot; train it with "
                "running statistics"
            )
        scale, shift = _affine(norm)
        source = node.all_input_nodes[0]
        if _takes(gm, source):
            _fold(gm, source, scale, shift)
            node.replace_all_uses_with(source)
        else:
            _write_out(gm, node, source, scale, shift)
        gm.graph.erase_node(node)
    gm.delete_all_unused_submodules()
    gm.recompile()
    return gm


def _affine(norm: batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale.detach(), (shift if norm.bias is None else shift + norm.bias).detach()


def _takes(gm: fx.GraphModule, source: fx.Node) -> bool:
    """Whether the operation before a batch norm can take it over."""
    if source.op != "call_module" or len(source.users) > 1:
        return False
    module = gm.get_submodule(str(source.target))
    # Else its channels are another axis.
    linear = isinstance(module, nn.Linear) and len(source.meta["shape"]) == 2
    return linear or (isinstance(module, _LAYERS) and not isinstance(module, nn.Linear))


def _fold(gm: fx.GraphModule, source: fx.Node, scale: Tensor, shift: Tensor) -> None:
    path = str(source.target)
    layer = gm.get_submodule(path)
    shared = [n for n in gm.graph.nodes if n.op == "call_module" and n.target == path]
    if len(shared) > 1:  # a layer that is called elsewhere too keeps its weights there
        layer = copy.deepcopy(layer)
        source.target = put(gm, path, layer)
    assert isinstance(layer, _LAYERS)
    weight = layer.weight * scale.reshape(-1, *(1 for _ in layer.weight.shape[1:]))
    bias = shift if layer.bias is None else layer.bias * scale + shift
    layer.weight = nn.Parameter(weight.detach(), requires_grad=layer.weight.requires_grad)
    layer.bias = nn.Parameter(bias.detach(), requires_grad=layer.weight.requires_grad)


def _write_out(
    gm: fx.GraphModule, node: fx.Node, source: fx.Node, scale: Tensor, shift: Tensor
) -> None:
    """A product and a sum in the place of a batch norm."""
    axes = tuple(1 for _ in node.meta["shape"][2:])
    value = source
    for name, constant, call in (("scale", scale, operator.mul), ("shift", shift, operator.add)):
        path = f"{node.name}_{name}"
        gm.register_buffer(path, constant.reshape(-1, *axes).clone())
        with gm.graph.inserting_before(node):
            value = gm.graph.call_function(call, (value, gm.graph.get_attr(path)))
        value.meta = dict(node.meta)
    node.replace_all_uses_with(value)
