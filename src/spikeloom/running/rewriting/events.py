"""Computes a linear layer or a convolution whose input is mostly zero from the nonzero elements.

Both methods are timed on this machine, once for each size, see `spikeloom.kernels.events.choice`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core import checks
from ...layers.spike_linear import described, spike_linear
from . import convolution

__all__ = ["NAME", "applied"]

NAME = "events"


def applied(execution: Any, layer: Any, span: range) -> str:
    if _converts(layer):
        return _with_linear(execution, layer, span)
    found = convolution.of(layer)
    if found is not None:
        return _convolved(execution, layer, span, found)
    explicit = layer.function is spike_linear
    if not explicit and layer.function is not F.linear:
        return ""
    if not _is_product(layer, span):
        return ""
    x, constant = _input(execution, layer, span)
    if constant or x.dim() < 3:
        return ""
    inside = execution.only_reader(layer) is not None
    if explicit:
        y, remark = described(x, *layer.args[1:], inside=inside)
    else:
        from ...kernels.events.choice import linear  # loads its loops on first use

        y, remark = linear(x, *_parameters(layer), inside=inside)
    execution.values.put_timed(layer, 0, len(span), y)
    return _described(remark)


def _convolved(execution: Any, layer: Any, span: range, found: convolution.Convolution) -> str:
    if len(span) < 2 or len(layer.slots) != 1 or layer.modes[1] or not checks.installed("numba"):
        return ""
    x = convolution.input_of(execution, layer, span)
    from ...kernels.events import choice, images, linear

    where = images.windows_of(found.weight, *found.numbers)
    if where is None or x.dim() != 5 or linear.refusal_of(x, found.weight):
        return ""
    inside = execution.only_reader(layer) is not None
    given = x.flatten(0, 1), found.weight, found.bias
    y, remark = choice.convolution(*given, where, inside=inside)
    if y is None:
        return ""
    execution.values.put_timed(layer, 0, len(span), y.unflatten(0, x.shape[:2]))
    return _described(remark)


def _with_linear(execution: Any, layer: Any, span: range) -> str:
    """Leave out a conversion of stored spikes if events read them as they are."""
    reader = execution.only_reader(layer)
    if reader is None or reader.function is not F.linear or not _is_product(reader, span):
        return ""
    x, constant = _input(execution, layer, span)
    weight, bias = _parameters(reader)
    if constant or x.dim() < 3 or layer.infos[0].dtype != weight.dtype:
        return ""
    from ...kernels.events import choice, linear

    pays, remark = choice.worth(x, weight, bias, made_for_events=True)
    if not pays:
        return ""
    inside = execution.only_reader(reader) is not None
    y = linear.linear(x, weight, bias, inside=inside)
    execution.values.put(layer, 0, len(span), [None] * len(span))
    execution.values.put_timed(reader, 0, len(span), y)
    execution.values.done[reader.number] = execution.span(reader).stop
    execution.note(reader, _described(remark))
    return "with the linear layer after it"


def _converts(layer: Any) -> bool:
    """Return whether a layer only converts numbers to another dtype."""
    options = [*layer.args[1:], *layer.kwargs.values()]
    if layer.function is Tensor.to:
        return len(options) == 1 and isinstance(options[0], torch.dtype)
    return layer.function in (Tensor.float, Tensor.double) and not options


def _is_product(layer: Any, span: range) -> bool:
    weight = layer.args[1]
    if type(weight) is not nn.Parameter or not weight.is_cpu or layer.modes[1]:
        return False
    return len(span) > 1 and not layer.kwargs and len(layer.slots) == 1


def _input(execution: Any, layer: Any, span: range) -> Any:
    return execution.along(layer.slots[0], layer.occurrences[span.start : span.stop])


def _parameters(layer: Any) -> Any:
    """Return weight and bias of a linear layer."""
    return layer.args[1], layer.args[2] if len(layer.args) > 2 else None


def _described(remark: str) -> str:
    return "; ".join(filter(None, ["time folded into the batch", remark]))
