"""A neuron whose spikes one linear layer with few outputs alone reads: both a few samples at a time.

That saves the largest tensors of a classifier, the spikes of its last hidden layer and their
gradients, and the time to write and read them (`spikeloom.kernels.readout`). Sizes alone decide, so
that a resumed training adds up in the same order.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from ...core import checks, dispatch

__all__ = ["NAME", "applied"]

NAME = "readout"
LEAST = 2**22  # multiply-adds of the linear layer below which both run apart


def applied(execution: Any, layer: Any, span: range) -> str:
    count = len(span)
    if layer.kind != "neuron" or count < 2 or execution.memory == "compressed":
        return ""
    reader = execution.only_reader(layer)
    if reader is None or reader.function is not F.linear or reader.kwargs:
        return ""
    weight, bias = (*reader.args[1:], None)[:2]
    info = layer.infos[0]
    if not _serves(layer, reader, weight, bias, info.shape, count):
        return ""
    need = execution.need_of(layer)
    if layer.taps or layer.path_wanted(span, need):
        return ""
    from ...kernels.readout import read  # loads its kernels on first use

    x, constant = execution.along(layer.slots[0], layer.occurrences[span.start : span.stop])
    steps = count if constant else None
    state = layer.started(execution)
    state = layer.module.initial(x if constant else x[0]) if state is None else state
    if not x.is_contiguous() or state[0].dtype != x.dtype or checks.watched(x):
        return ""
    if dispatch.name_of(layer.function, x, x.dtype, count) != "numba":
        return ""
    head = SimpleNamespace(weight=weight, bias=bias)
    y, last = read(layer.key, x, state, layer.arguments(x.dtype), steps, head)
    values = execution.values
    values.put(layer, 0, count, [None] * count)
    for out, value in zip(layer.outs, last, strict=True):
        if out:
            values.put(layer, out, count, [None] * (count - 1) + [value])
    values.put_timed(reader, 0, count, y)
    values.done[reader.number] = execution.span(reader).stop
    execution.note(reader, "with the neuron before it, a few samples at a time")
    return f"scan over time (numba){', the same input at every step' if constant else ''}"


def _serves(layer: Any, reader: Any, weight: Any, bias: Any, shape: torch.Size, count: int) -> bool:
    from ...kernels.events.narrow import OUTPUTS

    tensors = [weight] if bias is None else [weight, bias]
    if any(type(v) is not nn.Parameter or v.dtype != layer.infos[0].dtype for v in tensors):
        return False
    if layer.infos[0].device.type != "cpu" or not all(v.is_cpu for v in tensors):
        return False
    few = 0 < len(weight) <= OUTPUTS and len(shape) > 1 and shape[-1] == weight.shape[1]
    if not few or shape.numel() * count * len(weight) < LEAST:
        return False
    if checks.watched(*tensors) or checks.transformed() or forward_ad._current_level >= 0:
        return False
    plain = not layer.modes[1] and layer.modes == reader.modes and dispatch.kept() in ("", "input")
    return plain and 0 not in layer.outs and layer.function.elementwise and not layer.sequential
