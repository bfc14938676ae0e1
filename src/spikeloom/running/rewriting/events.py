"""Computes a linear layer whose input is mostly zero from the nonzero elements.

Both methods are timed on this machine, once for each size, see `spikeloom.kernels.events.choice`.
"""

from typing import Any

from torch import nn
from torch.nn import functional as F

from ...layers.spike_linear import described, spike_linear

__all__ = ["NAME", "applied"]

NAME = "events"


def applied(execution: Any, layer: Any, span: range) -> str:
    explicit = layer.function is spike_linear
    if not explicit and layer.function is not F.linear:
        return ""
    if len(span) < 2 or layer.kwargs or len(layer.slots) != 1:
        return ""
    weight = layer.args[1]
    if type(weight) is not nn.Parameter or not weight.is_cpu or layer.modes[1]:
        return ""
    x, constant = execution.along(layer.slots[0], layer.occurrences[span.start : span.stop])
    if constant or x.dim() < 3:
        return ""
    inside = execution.only_reader(layer) is not None
    if explicit:
        y, remark = described(x, *layer.args[1:], inside=inside)
    else:
        from ...kernels.events.choice import linear  # loads its loops on first use

        bias = layer.args[2] if len(layer.args) > 2 else None
        y, remark = linear(x, weight, bias, inside=inside)
    execution.values.put_timed(layer, 0, len(span), y)
    return "; ".join(filter(None, ["time folded into the batch", remark]))
