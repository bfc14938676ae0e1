"""A linear layer whose input is mostly zero, computed from what is not zero.

Whether that pays is measured on the machine, see `spikeloom.kernels.events`.
"""

import weakref
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["NAME", "applied"]

NAME = "events"
_densities: dict[int, Any] = {}  # of a layer's inputs, by its weight; decides only how to compute


def applied(execution: Any, layer: Any, span: range) -> str:
    if layer.function is not F.linear or len(span) < 2 or layer.kwargs or len(layer.slots) != 1:
        return ""
    weight = layer.args[1]
    info = layer.infos[0]
    plain = type(weight) is nn.Parameter and info.device.type == "cpu" and not layer.modes[1]
    if not plain or info.dtype != torch.float32:
        return ""
    x, constant = execution.along(layer.slots[0], layer.occurrences[span.start : span.stop])
    if constant or x.dim() < 3:
        return ""
    from ...kernels.events.linear import linear  # loads its operators on first use

    density = _density(weight)
    bias = layer.args[2] if len(layer.args) > 2 else None
    execution.values.put_timed(layer, 0, len(span), linear(x, weight, bias, density=density))
    return "; ".join(filter(None, ["time folded into the batch", str(density)]))


def _density(weight: nn.Parameter) -> Any:
    from ...kernels.events.choice import Density

    found = _densities.get(id(weight))
    if found is None or found[0]() is not weight:
        key = id(weight)
        reference = weakref.ref(weight, lambda _: _densities.pop(key, None))
        found = _densities[key] = (reference, Density())
    return found[1]
