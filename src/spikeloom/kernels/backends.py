"""Registers the printed loops as backends: what each supports, and when it is chosen.

The tracer, the operator and the printers are imported when a sequence first needs a backend;
importing them with the package would take a quarter of its import time.
"""

from functools import cache, lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..core import checks
from ..core.dispatch import Backend, register
from ..core.transition import Transition

__all__: list[str] = []


def _refusal(transition: Transition, x: Tensor, dtype: torch.dtype) -> str | None:
    """Return why no printed loop supports a call; None if one does."""
    if checks.transformed():
        return "a torch.func transform is running, which sees the ordinary loop only"
    if checks.forward_mode():
        return (
            "a derivative is computed in forward mode (forward_ad.dual_level), which sees "
            "the ordinary loop only"
        )
    return _untraceable(transition, dtype)


@lru_cache(maxsize=512)
def _untraceable(transition: Transition, dtype: torch.dtype) -> str | None:
    from . import scan  # noqa: F401 (defines the operator before torch.compile traces a call of it)
    from .trace import program

    built = program(transition, dtype)
    return built if isinstance(built, str) else None


@lru_cache(maxsize=512)
def _unprintable(transition: Transition, dtype: torch.dtype) -> str | None:
    from .scalars import obstacle

    return obstacle(transition, dtype)


def _numba_refusal(transition: Transition, x: Tensor, dtype: torch.dtype) -> str | None:
    reason = _refusal(transition, x, dtype)
    if reason:
        return reason
    if x.device.type != "cpu" or dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 or float64 on the CPU, got {dtype} on {x.device}"
    return _unprintable(transition, dtype)


def _numba_available() -> str | None:
    return (
        None
        if checks.installed("numba")
        else "numba is not installed; write: pip install numba (of the extra spikeloom[cpu])"
    )


@cache
def _triton() -> Any:
    return import_module(".triton_cuda", __package__)


def _triton_refusal(transition: Transition, x: Tensor, dtype: torch.dtype) -> str | None:
    return (
        _triton().refusal(x, dtype)
        or _refusal(transition, x, dtype)
        or _triton().obstacle(transition, dtype)
    )


def _runner(printer: str, unasked: str, *, narrow: bool = False) -> Any:
    """Return the function through which neurons call a printer.

    Args:
        printer: its name.
        unasked: the residual that it keeps by default.
        narrow: it can read input, and write spikes, of a narrower type than the states.
    """

    def run(
        key: str,
        x: Tensor,
        state: Any,
        params: Any,
        num_steps: int | None,
        *,
        path: bool,
        residual: str,
    ) -> tuple[Tensor, Any]:
        if (
            num_steps is None and len(x) > 1 and x.stride(0) == 0 and not x.requires_grad
        ):  # all steps share memory
            num_steps = len(x)
            x = x[0]
        dtype = x.dtype
        x = x if narrow else x.to(state[0].dtype)
        from .scan import scanned

        found = scanned(printer, key, residual or unasked, path, x, num_steps or 0, state, params)
        return found[0].to(dtype), type(state)(*found[1 : 1 + len(state)])

    return run


register(Backend("torch", lambda: None, _refusal, _runner("torch", "both")))
# compiling a kernel takes a second or two, which pays only for large layers
register(
    Backend(
        "numba",
        _numba_available,
        _numba_refusal,
        _runner("numba", "input"),
        pays=lambda work: work >= 2**17,
        checks_input=True,
    )
)
register(
    Backend(
        "triton",
        lambda: _triton().available(),
        _triton_refusal,
        _runner("triton", "state", narrow=True),
        pays=lambda work: not _triton().interpreting(),
    )
)
