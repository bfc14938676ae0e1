"""Layers that compute their weights in each step, as ordinary layers that hold the result.

These are layers with a parametrization of torch (weight norm, simulated quantization), layers of
Brevitas and those of ``torch.ao.nn.qat``, which round in ``forward``. NIR and C hold numbers only.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["plain_layers"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def plain_layers(net: nn.Module) -> nn.Module:
    """The network, or a copy with ordinary layers in the place of those that compute their weights.

    Raises:
        ValueError: a layer of Brevitas or torch.ao quantizes its input, its output or its bias as
            well.

    >>> net = nn.Sequential(nn.Linear(2, 2))
    >>> plain_layers(net) is net
    True
    """
    if not any(_computes(module) for module in net.modules()):
        return net
    net = copy.deepcopy(net)
    if _computes(net):
        return _plain("", net)
    for path, module in list(net.named_modules()):
        if _computes(module):
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, _plain(path, module))
    return net


def _computes(module: nn.Module) -> bool:
    return isinstance(module, LAYERS) and (
        _rounds(module) or _trains_rounded(module) or parametrize.is_parametrized(module)
    )


def _rounds(layer: nn.Module) -> bool:
    return callable(getattr(layer, "quant_weight", None))


def _trains_rounded(layer: nn.Module) -> bool:
    """Whether it is a layer of ``torch.ao.nn.qat``."""
    return isinstance(getattr(layer, "weight_fake_quant", None), nn.Module)


def _plain(path: str, layer: Any) -> nn.Module:
    """Make an ordinary layer.

    ``remove_parametrizations`` would change the class that a copy shares with its original.
    """
    training = layer.training
    layer.eval()  # a spectral norm would change its state
    options: dict[str, Any] = {"bias": layer.bias is not None}
    if isinstance(layer, nn.Linear):
        plain: Any = nn.Linear(layer.in_features, layer.out_features, **options)
    else:
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        options |= {name: getattr(layer, name) for name in names}
        kind: Any = nn.Conv1d if isinstance(layer, nn.Conv1d) else nn.Conv2d
        plain = kind(layer.in_channels, layer.out_channels, layer.kernel_size, **options)
    with torch.no_grad():
        weight = _weight(path, layer)
        plain = plain.to(weight)
        plain.weight.copy_(weight)
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    return plain.train(training)


def _weight(path: str, layer: Any) -> Tensor:
    if _trains_rounded(layer):
        fake = torch.ao.quantization.FakeQuantizeBase
        if isinstance(getattr(layer, "activation_post_process", None), fake):
            raise ValueError(
                f"{type(layer).__name__} {path!r} quantizes its output, which has no place in NIR "
                "or C; write QConfig(activation=torch.ao.quantization.NoopObserver, weight=...)"
            )
        return layer.weight_fake_quant(layer.weight)
    if not _rounds(layer):
        return layer.weight
    for what in ("input", "output", "bias"):
        if getattr(getattr(layer, f"{what}_quant", None), "is_quant_enabled", False):
            raise ValueError(
                f"{type(layer).__name__} {path!r} quantizes its {what}, which has no place in NIR "
                f"or C; write {what}_quant=None"
            )
    rounded = layer.quant_weight()
    return getattr(rounded, "value", rounded)
