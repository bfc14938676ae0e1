"""Replaces CUDA's libdevice in Triton's interpreter, which lacks some functions.

It rounds others differently.

Kernels printed for the interpreter import ``libdevice`` from here. Its functions are torch's, so
that the interpreter computes on the CPU what torch computes there.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

__all__ = ["libdevice"]


def _elementwise(function: Callable[..., Tensor]) -> Callable[..., Any]:
    def call(*blocks: Any) -> Any:
        first = blocks[0]
        values = function(*(torch.from_numpy(b.handle.data.copy()) for b in blocks)).numpy()
        return type(first)(type(first.handle)(values, first.handle.dtype), first.type)

    return call


_UNARY = (torch.exp, torch.log, torch.sqrt, torch.sin, torch.cos, torch.tanh, torch.atan, torch.erf)
libdevice = SimpleNamespace(
    **{function.__name__: _elementwise(function) for function in _UNARY},
    tanh_backward=_elementwise(torch.ops.aten.tanh_backward),
)
