"""Runs a neuron and the linear layer behind it together, a few samples at a time.

It applies where a linear layer with few outputs is the only reader of the spikes, see
`spikeloom.kernels.readout`. Sizes alone decide, so that a resumed training adds up in the same
order.
"""

from typing import Any

from torch import nn
from torch.nn import functional as F

from ...core import checks, dispatch

__all__ = ["NAME", "applied"]

NAME = "readout"
OUTPUTS = 32  # of the linear layer; with more, the products outweigh the memory that is saved
LEAST = 2**20  # spikes below which they stay in a cache anyway


def applied(execution: Any, layer: Any, span: range) -> str:
    if layer.kind != "neuron" or not layer.elementwise or layer.taps:
        return ""
    if execution.ends is not None:  # the spikes after the end of a sample are cut off first
        return ""
    reader = execution.only_reader(layer) if len(span) > 1 and 0 not in layer.outs else None
    if reader is None or reader.function is not F.linear or reader.kwargs or layer.modes[1]:
        return ""
    weight: Any = reader.args[1]
    bias: Any = reader.args[2] if len(reader.args) > 2 else None
    if not _is_small(weight, bias) or layer.size * len(span) < LEAST:
        return ""
    if execution.memory == "compressed" or dispatch.forced_residual() not in ("", "input"):
        return ""
    if layer.path_wanted(span, execution.need_of(layer)) or reader.changed():
        return ""
    if checks.transformed() or checks.forward_mode():
        return ""
    x, constant, state = layer.given(execution, span)
    steps = len(span) if constant else None
    tensors = [v for v in (x, *state, weight, bias) if v is not None]
    if not all(v.is_cpu and v.dtype == x.dtype for v in tensors) or checks.watched(*tensors):
        return ""
    if dispatch.name_of(layer.function, x, x.dtype, steps or 1) != "numba":
        return ""
    from ...kernels.readout import read  # loads numba on first use

    params = layer.arguments(x.dtype)
    y, states = read(layer.key, x.contiguous(), state, params, steps, weight, bias)
    layer.put(execution, len(span), None, states, path=False)
    execution.values.put_timed(reader, 0, len(span), y)
    execution.values.done[reader.number] = execution.span(reader).stop
    execution.note(reader, "with the neuron before it")
    same = ", the same input at every step" if constant else ""
    return f"scan over time (numba){same}; with the linear layer after it"


def _is_small(weight: Any, bias: Any) -> bool:
    parameters = (weight,) if bias is None else (weight, bias)
    return all(type(v) is nn.Parameter for v in parameters) and len(weight) <= OUTPUTS
