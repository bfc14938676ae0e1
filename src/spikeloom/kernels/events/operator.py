"""How operators are registered: as ``torch.library.custom_op`` does, whose first call imports ``torch._dynamo``."""

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["operator"]

_LIBRARY = torch.library.Library("spikeloom", "FRAGMENT")


def operator(run: Callable[..., Any]) -> Any:
    """The operator ``spikeloom::name`` that a function of that name computes on the CPU."""
    name = run.__name__
    _LIBRARY.define(name + torch.library.infer_schema(run, mutates_args=()))
    _LIBRARY.impl(name, run, "CPU")
    return getattr(torch.ops.spikeloom, name).default
