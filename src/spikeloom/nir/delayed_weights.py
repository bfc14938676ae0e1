"""Layers with a delay for each synapse, as parallel paths of one delay and one layer each."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.delay import SynapticDelay
from ..layers.delayed_conv import DelayedConv1d, DelayedConv2d
from ..layers.delayed_linear import DelayedLinear
from ..layers.delayed_weights import DelayedWeights

__all__ = ["Paths", "plain_delays"]


class Paths(nn.Module):
    """The sum of layers that read the input at different lags, which NIR writes as nodes.

    >>> Paths([(0, nn.Identity()), (2, nn.Identity())])(torch.ones(1, 3))
    tensor([[1., 1., 1.]])
    """

    def __init__(self, lags: list[tuple[int, nn.Module]]) -> None:
        super().__init__()
        self.delays = nn.ModuleDict({str(lag): SynapticDelay(lag, lag) for lag, _ in lags if lag})
        self.layers = nn.ModuleDict({str(lag): layer for lag, layer in lags})

    def forward(self, x: Tensor) -> Tensor:
        """The sum over the paths of ``x``, [B, ...]."""
        found = []
        for lag, layer in self.layers.items():
            found.append(layer(self.delays[lag](x) if lag in self.delays else x))
        total = found[0]
        for each in found[1:]:
            total = total + each
        return total


def plain_delays(net: nn.Module) -> nn.Module:
    """The network, or a copy with parallel paths in the place of layers with delayed weights.

    Raises:
        ValueError: delays are fractional, or spread over several steps.

    >>> import spikeloom as snn
    >>> list(plain_delays(snn.DelayedLinear(1, 2, 5, torch.tensor([[0.0], [3.0]]))).delays)
    ['3']
    """
    if not any(isinstance(module, DelayedWeights) for module in net.modules()):
        return net
    if isinstance(net, DelayedWeights):
        return _paths("", net)
    net = copy.deepcopy(net)
    for path, module in list(net.named_modules()):
        if isinstance(module, DelayedWeights):
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, _paths(path, module))
    return net


def _paths(path: str, layer: DelayedWeights) -> Paths:
    kind = type(layer).__name__
    if layer.kernel != "linear":
        raise ValueError(
            f"{kind} {path!r}: kernel={layer.kernel!r} has no NIR node; write layer.kernel = "
            '"linear" and round the delays'
        )
    if bool((layer.delay != layer.delay.round()).any()):
        raise ValueError(
            f"{kind} {path!r}: delays of synapses are written in whole steps, got fractional "
            "ones; write layer.delay.data.round_()"
        )
    weights = layer.lagged().detach().flip(0)  # from lag 0
    lags = [lag for lag, weight in enumerate(weights) if bool(weight.any())] or [0]
    made = [_plain(path, layer, weights[lag], bias=lag == lags[0]) for lag in lags]
    return Paths(list(zip(lags, made, strict=True)))


def _plain(path: str, layer: Any, weight: Tensor, *, bias: bool) -> nn.Module:
    """The layer of one lag; the bias belongs to one of them."""
    has_bias = bias and layer.bias is not None
    options: dict[str, Any] = {"bias": has_bias, "dtype": weight.dtype, "device": weight.device}
    if isinstance(layer, DelayedLinear):
        made: Any = nn.Linear(layer.in_features, layer.out_features, **options)
    elif isinstance(layer, (DelayedConv1d, DelayedConv2d)):
        kind = nn.Conv1d if isinstance(layer, DelayedConv1d) else nn.Conv2d
        for name in ("kernel_size", "stride", "padding", "dilation", "groups"):
            options[name] = getattr(layer, name)
        made = kind(layer.in_channels, layer.out_channels, **options)
    else:
        raise ValueError(f"{type(layer).__name__} {path!r} has no NIR node; write a DelayedLinear")
    with torch.no_grad():
        made.weight.copy_(weight)
        if has_bias:
            made.bias.copy_(layer.bias)
    return made
