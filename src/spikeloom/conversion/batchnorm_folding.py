"""Folds batch norm, in evaluation mode a scale and a shift of each channel, into other layers.

Behind a linear layer or convolution that nothing else reads, it becomes part of the weights of that
layer. Behind other operations, such as a ReLU or a sum, it becomes a product and a sum, which are
linear and act on spikes like any linear layer.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import batchnorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from .fx_graph import called, place, put

__all__ = ["folded"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def folded(gm: fx.GraphModule) -> fx.GraphModule:
    """Removes every batch norm from the graph; the function stays the same up to rounding.

    Args:
        gm: a `shaped` graph.

    Raises:
        ValueError: a batch norm has no running statistics.

    >>> from spikeloom.conversion.fx_graph import shaped, traced
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
        source = node.all_input_nodes[0]
        if _can_absorb(gm, source):
            _fold(gm, source, norm)
            node.replace_all_uses_with(source)
        else:
            _write_out(gm, node, source, *_affine(norm))
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


def _can_absorb(gm: fx.GraphModule, source: fx.Node) -> bool:
    """Whether a batch norm can be folded into the operation before it."""
    if source.op != "call_module" or len(source.users) > 1:
        return False
    module = gm.get_submodule(str(source.target))
    if isinstance(module, nn.Linear):  # of further axes, another one would be the channels
        return len(source.meta["shape"]) == 2
    return isinstance(module, _LAYERS)


def _fold(gm: fx.GraphModule, source: fx.Node, norm: batchnorm._BatchNorm) -> None:
    path = str(source.target)
    layer: Any = gm.get_submodule(path)
    fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    fused = fuse(layer, norm)
    fused.bias.requires_grad_(layer.weight.requires_grad)
    calls = [n for n in gm.graph.nodes if n.op == "call_module" and n.target == path]
    if len(calls) > 1:  # the other calls need the original weights
        source.target = put(gm, path, fused)
    else:
        gm.set_submodule(path, fused)


def _write_out(
    gm: fx.GraphModule, node: fx.Node, source: fx.Node, scale: Tensor, shift: Tensor
) -> None:
    """Replaces a batch norm by a product and a sum."""
    axes = tuple(1 for _ in node.meta["shape"][2:])
    value = source
    for name, constant, call in (("scale", scale, operator.mul), ("shift", shift, operator.add)):
        path = f"{node.name}_{name}"
        gm.register_buffer(path, constant.reshape(-1, *axes).clone())
        with gm.graph.inserting_before(node):
            value = gm.graph.call_function(call, (value, gm.graph.get_attr(path)))
        value.meta = dict(node.meta)
    node.replace_all_uses_with(value)
