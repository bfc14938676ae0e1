"""Computes a linear layer whose input is mostly zero from the nonzero elements.

Both methods are timed on this machine, once for each size, see `spikeloom.kernels.events.choice`.
"""

from typing import Any

from torch import nn
from torch.nn import functional as F

from ...layers.spike_linear import described, spike_linear
from . import readout
from .active import is_active

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
    how = _with_readout(execution, layer, span, x, explicit=explicit)
    if how:
        return how
    if explicit:
        y, remark = described(x, *layer.args[1:])
    else:
        from ...kernels.events.choice import linear  # loads its loops on first use

        y, remark = linear(x, weight, layer.args[2] if len(layer.args) > 2 else None)
    execution.values.put_timed(layer, 0, len(span), y)
    return _described(remark)


def _described(*remarks: str) -> str:
    return "; ".join(filter(None, ["time folded into the batch", *remarks]))


def _with_readout(execution: Any, layer: Any, span: range, x: Any, *, explicit: bool) -> str:
    """Run the layer together with a neuron and the readout behind it, if events are faster."""
    neuron = execution.only_reader(layer) if is_active(readout.NAME) else None
    if neuron is None or not readout.accepts(execution, neuron):
        return ""
    weight: Any = layer.args[1]
    bias = layer.args[2] if len(layer.args) > 2 else None
    way = layer.args[3] if explicit else "auto"
    if way == "never":
        return ""
    from ...kernels.events import choice, linear
    from ...kernels.readout import SCRATCH

    if 2 * weight.numel() > SCRATCH:  # each few samples would read and write too much of a gradient
        return ""
    if way == "always":
        linear.demand(linear.refusal(x, weight))
        pays, remark = True, "events"
    else:
        pays, remark = choice.worth(x, weight, bias, made_for_events=explicit)
    how = readout.applied(execution, neuron, span, (x, weight, bias)) if pays else ""
    if not how:
        return ""
    execution.note(neuron, how)
    execution.values.put(layer, 0, len(span), [None] * len(span))
    execution.values.done[neuron.number] = execution.span(neuron).stop
    return _described(remark, "with the neuron after it")
