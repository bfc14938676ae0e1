"""Who runs a sequence: the table of backends, and the choice among them.

A backend serves some transitions on some devices. Kernels enter themselves here; neurons ask here; neither knows the
other. ``"eager"``, the ordinary loop over time steps, serves everything and is always there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import checks
from .transition import Transition

__all__ = ["Backend", "backend", "backends", "chosen", "name_of", "register"]


@dataclass(frozen=True)
class Backend:
    """A way to run ``T`` steps of a transition.

    Args:
        name: what users write in ``snn.backend(name)``.
        available: ``() -> None`` if it can run here, else the reason why not.
        refusal: ``(transition, x) -> None`` if it serves this call, else the reason why not.
        pays: ``(x) -> bool``: whether to choose it, unasked, for an input like this.
        run: ``(key, x, state, params, num_steps) -> (spk, states)`` with the key of the transition, see `Neuron.scan`.
    """

    name: str
    available: Callable[[], str | None]
    refusal: Callable[[Transition, Tensor], str | None]
    run: Callable[..., tuple[Tensor, Any]]
    pays: Callable[[Tensor], bool] = lambda x: True


_TABLE: dict[str, Backend] = {}
_forced: ContextVar[str | None] = ContextVar("spikeloom_backend", default=None)


def register(entry: Backend) -> None:
    """Enter a backend; those entered later are asked earlier."""
    _TABLE[entry.name] = entry


def backends() -> dict[str, str]:
    """The backends by name, each ``"available"`` or the reason why it is not.

    >>> backends()["eager"]
    'available'
    """
    reasons = {name: entry.available() for name, entry in _TABLE.items()}
    return {**{name: reason or "available" for name, reason in reasons.items()}, "eager": "available"}


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run every sequence inside the block with one backend, or raise.

    Args:
        name: one of `backends`; ``"eager"`` is the ordinary loop.

    Raises:
        ValueError: no such backend.
        RuntimeError: it is not available here; or, inside the block, it does not serve a neuron.

    >>> import spikeloom as snn
    >>> with snn.backend("eager"):
    ...     spk, mem = snn.Leaky(0.9, mode="sequence")(torch.ones(4, 1, 2))
    """
    checks.choice("backend", name, [*_TABLE, "eager"])
    reason = None if name == "eager" else _TABLE[name].available()
    if reason:
        raise RuntimeError(f"backend {name!r} is not available: {reason}; see snn.backends()")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def chosen(transition: Transition, x: Tensor) -> Callable[..., tuple[Tensor, Any]] | None:
    """What runs this call, or None for the eager loop.

    Raises:
        RuntimeError: the backend that the user asked for does not serve this call.
    """
    if not torch.compiler.is_compiling():
        name = name_of(transition, x)
    else:
        name = _constant_choice(transition, x.dtype, x.device.type)
    return None if name == "eager" else _TABLE[name].run


def name_of(transition: Transition, x: Tensor) -> str:
    """Name of the backend for this call.

    Raises:
        RuntimeError: the backend that the user asked for does not serve it.
    """
    name = _forced.get()
    if name is None:
        return next((e.name for e in reversed(_TABLE.values()) if _serves(e, transition, x)), "eager")
    reason = None if name == "eager" else _TABLE[name].refusal(transition, x)
    if reason:
        raise RuntimeError(
            f"backend {name!r} does not serve {transition.neuron.__name__}: {reason}; "
            'leave the choice open or write snn.backend("eager")'
        )
    return name


def _serves(entry: Backend, transition: Transition, x: Tensor) -> bool:
    return entry.pays(x) and entry.available() is None and entry.refusal(transition, x) is None


def _constant_choice(transition: Transition, dtype: torch.dtype, device: str) -> str:
    return name_of(transition, torch.empty(0, dtype=dtype, device=device))


# torch.compile then calls it while tracing and keeps the answer (torch.compiler.assume_constant_result would import
# the compiler here, which costs seconds)
_constant_choice._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess] (torch's own marker)
