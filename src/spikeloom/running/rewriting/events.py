"""Computes a linear layer whose input is mostly zero from the nonzero elements.

Both methods are timed on this machine, once for each size, see `spikeloom.kernels.events.choice`.
"""

from typing import Any

from torch import nn
from torch.nn import functional as F

__all__ = ["NAME", "applied"]

NAME = "events"


def applied(execution: Any, layer: Any, span: range) -> str:
    if layer.function is not F.linear or len(span) < 2 or layer.kwargs or len(layer.slots) != 1:
        return ""
    weight = layer.args[1]
    if type(weight) is not nn.Parameter or not weight.is_cpu or layer.modes[1]:
        return ""
    x, constant = execution.along(layer.slots[0], layer.occurrences[span.start : span.stop])
    if constant or x.dim() < 3:
        return ""
    from ...kernels.events.choice import linear  # loads its loops on first use

    bias = layer.args[2] if len(layer.args) > 2 else None
    y, remark = linear(x, weight, bias)
    execution.values.put_timed(layer, 0, len(span), y)
    return "; ".join(filter(None, ["time folded into the batch", remark]))
