"""The converted network with spikes of size 1, for hardware and exchange formats.

In `Converted` a spike has the size of the threshold of its neuron. Here that size moves into the
weights of the next layers, through pooling and flattening; before a sum or a concatenation it
becomes a separate factor.
"""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import pooling

from ..neurons.scaled_if import ScaledIF
from .fx_graph import called, place, put
from .spiking_max_pool import SpikingMaxPool

__all__ = ["unit_spikes"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PASSING = (pooling._AvgPoolNd, pooling._AdaptiveAvgPoolNd, SpikingMaxPool, nn.Flatten)


@torch.no_grad()
def unit_spikes(net: fx.GraphModule) -> fx.GraphModule:
    """One step of a converted network with spikes of size 1 and the same outputs.

    Args:
        net: ``Converted.net``.

    Raises:
        ValueError: there is no bias for a calibrated current.

    >>> import spikeloom as snn
    >>> ann = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> unit = unit_spikes(snn.conversion.convert(ann, torch.rand(9, 2)).net)
    >>> unit.get_submodule("1").graded_spikes_factor
    tensor(1.)
    """
    meta = [node.meta for node in net.graph.nodes]
    net = copy.deepcopy(net)
    for node, each in zip(net.graph.nodes, meta, strict=True):
        node.meta = dict(each)
    _own_layers(net)
    for node, neuron in called(net, ScaledIF):
        _move_current(net, node, neuron)
        size = neuron.graded_spikes_factor.detach().clone()
        neuron.graded_spikes_factor = torch.ones(()).to(size)
        _spread(net, node, size)
    net.recompile()
    return net


def _own_layers(net: fx.GraphModule) -> None:
    """Gives each call of a layer its own weights, since each is rescaled separately."""
    taken: set[str] = set()
    for node, module in called(net, *_LAYERS):
        if str(node.target) in taken:
            node.target = put(net, str(node.target), copy.deepcopy(module))
        taken.add(str(node.target))


def _move_current(net: fx.GraphModule, node: fx.Node, neuron: ScaledIF) -> None:
    """Adds a neuron's constant current to the bias of the previous layer."""
    current = neuron.current.detach()
    if not current.any():
        neuron.current = torch.zeros_like(current)
        return
    source = node.all_input_nodes[0]
    layer: Any = net.get_submodule(str(source.target)) if source.op == "call_module" else None
    if not isinstance(layer, _LAYERS) or len(source.users) > 1:
        raise ValueError(
            f"{place(net, node)} has a calibrated current, and needs its own layer before it, "
            'whose bias can absorb it; convert without calibrate="bias"'
        )
    channels = layer.weight.shape[0]
    added = current.flatten().expand(channels)
    layer.bias = nn.Parameter(added.clone() if layer.bias is None else layer.bias + added)
    neuron.current = torch.zeros_like(current)


def _spread(net: fx.GraphModule, node: fx.Node, size: Tensor) -> None:
    """Moves the size of a neuron's spikes into every operation that reads them."""
    for user in list(node.users):
        module: Any = net.get_submodule(str(user.target)) if user.op == "call_module" else None
        if isinstance(module, _LAYERS):
            _rescale(module, size)
        elif isinstance(module, _PASSING):
            _spread(net, user, _flattened(node, size) if isinstance(module, nn.Flatten) else size)
        else:
            _factor(net, node, user, size)


def _rescale(layer: Any, size: Tensor) -> None:
    """Scales the weights of each input channel of a layer."""
    if size.dim() == 0 or size.numel() == 1:
        layer.weight = nn.Parameter(layer.weight * size.reshape(()))
        return
    outputs, inputs, *axes = layer.weight.shape
    groups = getattr(layer, "groups", 1)
    # the weight of a group has only its own channels
    rows = size.reshape(groups, inputs).repeat_interleave(outputs // groups, 0)
    layer.weight = nn.Parameter(layer.weight * rows.reshape(outputs, inputs, *(1 for _ in axes)))


def _flattened(node: fx.Node, size: Tensor) -> Tensor:
    """The size of each element behind a flattening."""
    return size if size.numel() == 1 else size.expand(node.meta["shape"][1:]).flatten()


def _factor(net: fx.GraphModule, node: fx.Node, user: fx.Node, size: Tensor) -> None:
    """Multiplies spikes by their size before an operation without weights."""
    name = f"{node.name}_size"
    if not hasattr(net, name):
        net.register_buffer(name, size)
    with net.graph.inserting_before(user):
        scaled = net.graph.call_function(torch.mul, (node, net.graph.get_attr(name)))
    scaled.meta = dict(node.meta)
    user.replace_input_with(node, scaled)
