"""Passes that rewrite activations, pooling and flattening as modules."""

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules import dropout, pooling

from .activations import QCFS, SITES, Activation
from .fx_graph import called, place, put, replace

__all__ = [
    "normalised",
    "with_activations",
    "with_flattening",
    "with_layers",
    "with_pools",
    "without_idle",
    "without_writes",
]

_RELU = {F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}
_CLAMP = {
    torch.clamp,
    torch.clamp_,
    torch.clip,
    torch.clip_,
    torch.clamp_min,
    torch.clamp_min_,
    F.hardtanh,
    F.hardtanh_,
    "clamp",
    "clamp_",
    "clip",
    "clip_",
    "clamp_min",
    "clamp_min_",
}
_IDLE = {
    "contiguous",
    "clone",
    "detach",
    "float",
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.alpha_dropout,
}
_IN_PLACE = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul}
_IN_PLACE_METHODS = {"add_": operator.add, "sub_": operator.sub, "mul_": operator.mul}


def normalised(gm: fx.GraphModule) -> fx.GraphModule:
    """Applies all passes of this file; the graph must be `shaped`.

    >>> from spikeloom.conversion.fx_graph import shaped, traced
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.ReLU())
    >>> gm = shaped(traced(net), torch.zeros(1, 2))
    >>> layers = [n.target for n in normalised(gm).graph.nodes if n.op == "call_module"]
    >>> [type(gm.get_submodule(layer)).__name__ for layer in layers]
    ['Linear', 'Activation']
    """
    for each in (
        without_writes,
        without_idle,
        with_layers,
        with_activations,
        with_pools,
        with_flattening,
    ):
        gm = each(gm)
    gm.graph.eliminate_dead_code()
    gm.delete_all_unused_submodules()
    gm.graph.lint()
    gm.recompile()
    return gm


def without_writes(gm: fx.GraphModule) -> fx.GraphModule:
    """Replaces in-place operations by pure ones, whose results all later readers use."""
    for node in list(gm.graph.nodes):
        if not node.all_input_nodes or not _writes(gm, node):
            continue
        source = node.all_input_nodes[0]
        source.replace_all_uses_with(node, delete_user_cb=lambda user, node=node: user > node)
        if node.target in _IN_PLACE:
            node.target = _IN_PLACE[node.target]
        elif node.target in _IN_PLACE_METHODS:
            node.op = "call_function"
            node.target = _IN_PLACE_METHODS[str(node.target)]
    return gm


def _writes(gm: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an operation writes into its first argument."""
    if node.op == "call_module":
        return bool(getattr(gm.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_")
    name = getattr(node.target, "__name__", "")
    return node.target in _IN_PLACE or name.endswith("_") or bool(node.kwargs.get("inplace"))


def without_idle(gm: fx.GraphModule) -> fx.GraphModule:
    """Removes operations that do nothing in evaluation mode."""
    idle_modules = [node for node, _ in called(gm, nn.Identity, dropout._DropoutNd)]
    for node in list(gm.graph.nodes):
        if node in idle_modules or node.target in _IDLE:
            node.replace_all_uses_with(node.all_input_nodes[0])
            gm.graph.erase_node(node)
    return gm


# -- layers ----------------------------------------------------------------------------------------

_CONVS = {
    F.conv1d: nn.Conv1d,
    torch.conv1d: nn.Conv1d,
    F.conv2d: nn.Conv2d,
    torch.conv2d: nn.Conv2d,
}


def with_layers(gm: fx.GraphModule) -> fx.GraphModule:
    """Replaces functional linear operations on parameters of the network by layers."""
    for node in list(gm.graph.nodes):
        if node.target is not F.linear and node.target not in _CONVS:
            continue
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        source = given.pop("input")
        parameters = [given.pop(name, None) for name in ("weight", "bias")]
        if any(isinstance(p, fx.Node) and p.op != "get_attr" for p in parameters):
            continue  # weights that are signals; `checked` refuses them
        weight, bias = (
            p if p is None else operator.attrgetter(str(p.target))(gm) for p in parameters
        )
        replace(gm, node, _layer(node.target, given, weight, bias), source)
    return gm


def _layer(function: Any, options: dict[str, Any], weight: Any, bias: Any) -> nn.Module:
    if function is F.linear:
        layer: Any = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    else:
        channels = weight.shape[1] * options.get("groups", 1)
        layer = _CONVS[function](
            channels,
            weight.shape[0],
            weight.shape[2:],
            bias=bias is not None,
            device="meta",
            **options,
        )
    layer.weight = nn.Parameter(weight, weight.requires_grad)
    layer.bias = None if bias is None else nn.Parameter(bias, bias.requires_grad)
    return layer


# -- activations -----------------------------------------------------------------------------------


def with_activations(gm: fx.GraphModule) -> fx.GraphModule:
    """Replaces each call of a rectifier, in any spelling, by its own module."""
    found = [
        (node, module) for node in gm.graph.nodes if (module := _activation(gm, node)) is not None
    ]
    paths = {node: str(node.target) if node.op == "call_module" else node.name for node, _ in found}
    for path in {paths[node] for node, _ in found if node.op == "call_module"}:
        gm.delete_submodule(path)
    taken: set[int] = set()
    for node, module in found:
        own = _copy(module) if id(module) in taken else module  # a QCFS that is called twice
        taken.add(id(module))
        source = node.args[0] if isinstance(node.args[0], fx.Node) else None
        replace(gm, node, own, source, paths[node])
    return gm


def _copy(qcfs: Any) -> nn.Module:
    return QCFS(qcfs.levels, qcfs.ceiling).to(qcfs.threshold.device, qcfs.threshold.dtype)


def _activation(gm: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that replaces an operation if it is a rectifier, else None."""
    if node.op == "call_module":
        module = gm.get_submodule(str(node.target))
        if isinstance(module, SITES):
            return module
        if isinstance(module, nn.ReLU6):
            return Activation(6.0)
        if isinstance(module, nn.ReLU):
            return Activation()
        if isinstance(module, nn.Hardtanh):
            return _clipped(gm, node, module.min_val, module.max_val)
        return None
    if node.op not in ("call_function", "call_method"):
        return None
    if node.target in _RELU:
        return Activation()
    if node.target is F.relu6:
        return Activation(6.0)
    if node.target not in _CLAMP or not isinstance(node.args[0], fx.Node):
        return None
    if "hardtanh" in getattr(node.target, "__name__", ""):
        low, high = _arguments(node, ("min_val", "max_val"), (-1.0, 1.0))
    else:
        low, high = _arguments(node, ("min", "max"), (None, None))
    return _clipped(gm, node, low, high)


def _arguments(node: fx.Node, names: tuple[str, ...], defaults: tuple[Any, ...]) -> list[Any]:
    """The arguments after the first one, positional or by keyword."""
    given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    return [given.get(name, default) for name, default in zip(names, defaults, strict=True)]


def _clipped(gm: fx.GraphModule, node: fx.Node, low: Any, high: Any) -> Activation:
    numbers = (int, float)
    rises = high is None or (isinstance(high, numbers) and high > 0)
    if not isinstance(low, numbers) or low != 0 or not rises:
        raise ValueError(
            f"{place(gm, node)} clips to [{low}, {high}], and the rate of a neuron cannot be "
            "negative; clip to [0, c], or use nn.ReLU"
        )
    return Activation(None if high is None else float(high))


# -- pooling ---------------------------------------------------------------------------------------

_POOLS: dict[Any, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {}
for _n, _max, _avg in ((1, nn.MaxPool1d, nn.AvgPool1d), (2, nn.MaxPool2d, nn.AvgPool2d)):
    _sizes = ("kernel_size", "stride", "padding")
    for _function in (getattr(F, f"max_pool{_n}d"), getattr(torch, f"max_pool{_n}d")):
        _POOLS[_function] = (_max, (*_sizes, "dilation", "ceil_mode"))
    for _function in {getattr(F, f"avg_pool{_n}d"), getattr(torch, f"avg_pool{_n}d", None)} - {
        None
    }:
        _POOLS[_function] = (_avg, (*_sizes, "ceil_mode", "count_include_pad"))
    _POOLS[getattr(F, f"adaptive_avg_pool{_n}d")] = (
        getattr(nn, f"AdaptiveAvgPool{_n}d"),
        ("output_size",),
    )
    _POOLS[getattr(F, f"adaptive_max_pool{_n}d")] = (
        getattr(nn, f"AdaptiveMaxPool{_n}d"),
        ("output_size",),
    )


def with_pools(gm: fx.GraphModule) -> fx.GraphModule:
    """Replaces pooling functions and means over images by modules."""
    for node in list(gm.graph.nodes):
        if node.op == "call_function" and node.target in _POOLS:
            cls, names = _POOLS[node.target]
            options = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
            node = replace(gm, node, cls(**{k: v for k, v in options.items() if k in names}))
        elif node.target in (torch.mean, "mean"):
            node = _mean(gm, node)
        if node.op == "call_module" and isinstance(
            gm.get_submodule(str(node.target)), pooling._AdaptiveAvgPoolNd
        ):
            _ordinary(gm, node)
    return gm


def _mean(gm: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Replaces a mean over all pixels by pooling, with flattening unless it retains the axes."""
    source = node.all_input_nodes[0]
    shape = source.meta.get("shape") or ()
    dim, keep = _arguments(node, ("dim", "keepdim"), (None, False))
    dims = [dim] if isinstance(dim, int) else dim or []
    if len(shape) not in (3, 4) or {d % len(shape) for d in dims} != set(range(2, len(shape))):
        return node
    pool = nn.AdaptiveAvgPool1d(1) if len(shape) == 3 else nn.AdaptiveAvgPool2d(1)
    with gm.graph.inserting_before(node):
        pooled = gm.graph.call_module(put(gm, f"{node.name}_pool", pool), (source,))
    pooled.meta = {**node.meta, "shape": (*shape[:2], *(1 for _ in shape[2:]))}
    if keep:
        node.replace_all_uses_with(pooled)
        gm.graph.erase_node(node)
    else:
        replace(gm, node, nn.Flatten(1), pooled)
    return pooled


def _ordinary(gm: fx.GraphModule, node: fx.Node) -> None:
    """Replaces an adaptive average with equal windows by a plain one, which NIR supports."""
    before = node.all_input_nodes[0].meta.get("shape")
    after = node.meta.get("shape")
    if not before or not after or any(b % a for b, a in zip(before[2:], after[2:], strict=True)):
        return
    sizes = tuple(b // a for b, a in zip(before[2:], after[2:], strict=True))
    replace(gm, node, nn.AvgPool1d(sizes[0]) if len(sizes) == 1 else nn.AvgPool2d(sizes))


# -- flattening ------------------------------------------------------------------------------------


def with_flattening(gm: fx.GraphModule) -> fx.GraphModule:
    """Replaces flattening in any spelling by ``nn.Flatten``, which holds no batch size."""
    for node in list(gm.graph.nodes):
        if node.target in ("view", "reshape", "flatten", torch.reshape, torch.flatten):
            before = node.args[0].meta.get("shape")
            after = node.meta.get("shape")
            if before and after and after == (before[0], prod(before[1:])) and len(before) > 1:
                replace(gm, node, nn.Flatten(1), node.args[0])
    return gm
