"""Runs a convolution and the max pooling behind it together, a few images at a time.

It applies where nothing else reads the convolution. Images are channels last: oneDNN convolves
them fastest in that order, and torch pools them three times as fast (`benchmarks/conv.py`). If
equal patterns of spikes tie in the pooling, rounding decides which of them receives the gradient,
in either memory order.
"""

from typing import Any

import torch
from torch import Tensor

from ...core import checks
from ...kernels.pooled_convolution import Pair, pooled
from ..tables import MAX_POOL
from . import convolution
from .events import NAME as EVENTS
from .names import active

__all__ = ["NAME", "applied"]

NAME = "pooling"
LEAST = 2**17  # elements of a convolution's output; below, the order makes no difference
CHUNK = 2**19  # elements of a convolution's output at a time: 2 MiB, which the cache may hold

_POOLING = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def applied(execution: Any, layer: Any, span: range) -> str:
    found = convolution.of(layer)
    if found is None:
        return ""
    pool = execution.only_reader(layer)
    if pool is None or pool.function not in MAX_POOL or pool.wrap is not None:
        return ""
    count = len(span)
    info = layer.infos[0]
    size = info.shape.numel() * count
    if info.device.type != "cpu" or info.dtype != torch.float32 or size < LEAST:
        return ""
    pair = _pair_of(found, pool, info)
    if pair is None or layer.modes[1] or checks.transformed() or checks.forward_mode():
        return ""
    x = convolution.input_of(execution, layer, span)
    timed = x.dim() == 5
    images = _channels_last(x.flatten(0, 1) if timed else x)
    given = images, found.weight, found.bias, pair
    inside = execution.only_reader(pool) is not None
    y, remark = pooled(*given, events=active(EVENTS), inside=inside)
    values = execution.values
    for runs, out in ((layer, None), (pool, y)):
        if timed and out is not None:
            values.put_timed(runs, 0, count, out.unflatten(0, x.shape[:2]))
        else:
            values.put(runs, 0, count, [out] * count)
    values.done[pool.number] = execution.span(pool).stop
    once = "time folded into the batch" if timed else "once: its input is constant in time"
    execution.note(pool, "with the convolution before it")
    return "; ".join(filter(None, [once, "channels last, with the pooling after it", remark]))


def _pair_of(found: convolution.Convolution, pool: Any, info: Any) -> Pair | None:
    numbers = dict(zip(_POOLING, pool.args[1:], strict=False)) | pool.kwargs
    if numbers.pop("return_indices", False) or numbers.keys() - set(_POOLING):
        return None
    if info.shape[-3:].numel() == 0 or len(info.shape) != 4:
        return None
    kernel = numbers["kernel_size"]
    pooling = (
        convolution.pair(kernel),
        convolution.pair(numbers.get("stride") or kernel),
        convolution.pair(numbers.get("padding", 0)),
        convolution.pair(numbers.get("dilation", 1)),
        numbers.get("ceil_mode", False),
    )
    return Pair(found.numbers, pooling, max(1, CHUNK // info.shape[1:].numel()))


def _channels_last(x: Tensor) -> Tensor:
    if x.shape[1] == 1 and x.is_contiguous():  # same memory; torch derives the order from strides
        return x.view(x.shape[0], *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)
