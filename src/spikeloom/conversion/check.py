"""Checks that a network can be converted: linear operations, rectifiers and max pooling.

A signal is a value that depends on the input of the network. A linear operation commutes with the
mean over time and needs no change; any other operation needs a spiking counterpart, and is refused
with its name and path if there is none.
"""

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules import batchnorm, conv, instancenorm, padding, pooling

from .activations import SITES
from .fx_graph import name_of, place

__all__ = ["HEADS", "OPERATIONS", "checked", "head_of"]

HEADS = (nn.Softmax, nn.LogSoftmax)
_HEAD_FUNCTIONS = {
    torch.softmax,
    torch.log_softmax,
    F.softmax,
    F.log_softmax,
    "softmax",
    "log_softmax",
}

_MODULES = (
    *SITES,
    nn.Linear,
    nn.Flatten,
    nn.Unflatten,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ZeroPad1d,
    nn.ZeroPad2d,
    conv._ConvNd,
    padding._ReflectionPadNd,
    padding._ReplicationPadNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._MaxPoolNd,
    pooling._AdaptiveMaxPoolNd,
)
_LINEAR = {
    F.pad,
    F.interpolate,
    torch.cat,
    torch.concat,
    torch.stack,
    torch.flatten,
    torch.reshape,
    torch.permute,
    torch.transpose,
    torch.squeeze,
    torch.unsqueeze,
    torch.chunk,
    torch.split,
    torch.mean,
    torch.sum,
    torch.neg,
    torch.narrow,
    operator.getitem,
    operator.neg,
    getattr,
    "view",
    "reshape",
    "flatten",
    "permute",
    "transpose",
    "squeeze",
    "unsqueeze",
    "chunk",
    "split",
    "mean",
    "sum",
    "size",
    "dim",
    "neg",
    "expand",
    "narrow",
    "unflatten",
}
_SUMS = {operator.add, operator.sub, torch.add, torch.sub, "add", "sub"}
_PRODUCTS = {operator.mul, operator.truediv, torch.mul, torch.div, "mul", "div"}
OPERATIONS = _LINEAR | _SUMS | _PRODUCTS  # functions, and names of methods

_INSTEAD = {
    "sigmoid": "its output is not the rate of a neuron that fires in proportion to its input; "
    "train with nn.ReLU instead",
    "softmax": "inside a network it divides signals by each other; keep it out, or put it last",
    "pool": "a maximum with indices has no spikes to pass; use nn.MaxPool2d without return_indices",
    "norm": "it divides by statistics of each sample; train with batch norm, which can be folded",
    "mul": "a product of two signals is not linear; add or concatenate them, or train without "
    "gates",
    "div": "a quotient of two signals is not linear; add or concatenate them, or train without "
    "gates",
    "attention": "it multiplies signals with each other; convert the layers around it",
    "linear": "its weights must be parameters of the network, not signals; use nn.Linear",
    "conv": "its weights must be parameters of the network, not signals; use nn.Conv2d",
    "recurrent": "its state has no counterpart; convert the feed-forward part",
}


def checked(gm: fx.GraphModule) -> fx.GraphModule:
    """Checks that every operation of a normalised graph can be converted.

    Raises:
        ValueError: one cannot; the message gives its name, its path and a remedy.

    >>> from spikeloom.conversion.fx_graph import traced
    >>> checked(traced(nn.Sequential(nn.Linear(2, 3), nn.Sigmoid())))
    Traceback (most recent call last):
    ValueError: Sigmoid '1' cannot be converted: its output is not the rate of a neuron that ...
    """
    signals: set[fx.Node] = set()
    head = head_of(gm)
    for node in gm.graph.nodes:
        if node.op == "placeholder" or any(source in signals for source in node.all_input_nodes):
            if not _is_size(node):
                signals.add(node)
            if node.op == "output":
                _one_output(node)
            elif node is not head and node.op != "placeholder" and not _allowed(gm, node, signals):
                raise ValueError(f"{place(gm, node)} cannot be converted: {_instead(gm, node)}")
    return gm


def head_of(gm: fx.GraphModule) -> fx.Node | None:
    """The softmax that is the last operation, if any; the readout applies it to its mean."""
    last = next(node for node in gm.graph.nodes if node.op == "output").args[0]
    if not isinstance(last, fx.Node) or len(last.users) > 1:
        return None
    if last.op == "call_module":
        return last if isinstance(gm.get_submodule(str(last.target)), HEADS) else None
    return last if last.target in _HEAD_FUNCTIONS else None


def _one_output(node: fx.Node) -> None:
    if not isinstance(node.args[0], fx.Node):
        kind = type(node.args[0]).__name__
        raise ValueError(
            f"the network must return one tensor, got a {kind}; wrap it so that it returns the "
            "logits"
        )


def _is_size(node: fx.Node) -> bool:
    """Whether an operation reads a property of a signal that does not depend on its values."""
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim", "dtype", "device")
    return node.target in ("size", "dim")


def _allowed(gm: fx.GraphModule, node: fx.Node, signals: set[fx.Node]) -> bool:
    if node.op == "call_module":
        module: Any = gm.get_submodule(str(node.target))
        return isinstance(module, _MODULES) and not getattr(module, "return_indices", False)
    if node.target in _PRODUCTS:
        if node.target in (operator.truediv, torch.div, "div"):
            return node.args[1] not in signals
        return not all(arg in signals for arg in node.args[:2])
    return node.target in _LINEAR or node.target in _SUMS


def _instead(gm: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        module: Any = gm.get_submodule(str(node.target))
        if isinstance(module, (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)):
            return _INSTEAD["softmax"]
        if isinstance(
            module, (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, instancenorm._InstanceNorm)
        ):
            return _INSTEAD["norm"]
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            return _INSTEAD["recurrent"]
        if isinstance(module, nn.MultiheadAttention):
            return _INSTEAD["attention"]
        if type(module).__module__ == nn.ReLU.__module__:
            return _INSTEAD["sigmoid"]
        if isinstance(module, batchnorm._BatchNorm):
            return "fold it first: spikeloom.conversion.batchnorm_folding.folded"
        name = type(module).__name__.lower()
    else:
        name = name_of(node).lower()
    return next((text for word, text in _INSTEAD.items() if word in name), _of_function(name))


def _of_function(name: str) -> str:
    curved = (
        "tanh",
        "gelu",
        "silu",
        "elu",
        "mish",
        "softplus",
        "exp",
        "log",
        "pow",
        "abs",
        "sqrt",
        "hardswish",
    )
    if any(word in name for word in curved):
        return _INSTEAD["sigmoid"]
    return (
        "it is not known to be linear; write it with layers, sums and products with constants, or "
        "use nn.ReLU"
    )
