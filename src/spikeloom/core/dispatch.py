"""Table of backends, and the choice of the backend and of the residual for a sequence.

A backend serves some transitions on some devices. Kernels register here and neurons choose here;
neither imports the other. ``"eager"``, the ordinary loop over time steps, serves everything and is
always available.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import checks
from .transition import Transition

__all__ = [
    "RESIDUALS",
    "Backend",
    "backend",
    "backends",
    "checks_input",
    "chosen",
    "forced_residual",
    "name_of",
    "register",
    "residual",
    "residual_refusal",
    "together",
]

RESIDUALS = ("state", "half", "input")


@dataclass(frozen=True)
class Backend:
    """A way to run ``T`` steps of a transition.

    Args:
        name: what users write in ``snn.backend(name)``.
        available: ``() -> None`` if it can run here, else the reason why not.
        refusal: ``(transition, x, dtype) -> None`` if it serves this call, computed in ``dtype``,
            else why not.
        pays: ``(work) -> bool``: whether it is chosen by default for that many neuron steps.
        run: ``(key, x, state, params, num_steps, *, path, residual) -> (spk, states)`` with the key
            of the transition; the states over time, or without ``path`` the last ones; ``residual``
            "" leaves that choice to it.
        checks_input: ``run`` itself raises for an input that is not finite.
    """

    name: str
    available: Callable[[], str | None]
    refusal: Callable[[Transition, Tensor, torch.dtype], str | None]
    run: Callable[..., tuple[Tensor, Any]]
    pays: Callable[[int], bool] = lambda work: True
    checks_input: bool = False


_TABLE: dict[str, Backend] = {}
_forced: ContextVar[str | None] = ContextVar("spikeloom_backend", default=None)
_largest: ContextVar[list[int] | None] = ContextVar("spikeloom_together", default=None)
_residual: ContextVar[str] = ContextVar("spikeloom_residual", default="")


def register(entry: Backend) -> None:
    """Register a backend; the latest one that serves a call is chosen."""
    _TABLE[entry.name] = entry


def backends() -> dict[str, str]:
    """The backends by name, each ``"available"`` or the reason why it is not.

    >>> backends()["eager"]
    'available'
    """
    reasons = {name: entry.available() for name, entry in _TABLE.items()}
    return {
        **{name: reason or "available" for name, reason in reasons.items()},
        "eager": "available",
    }


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


@contextmanager
def residual(name: str) -> Iterator[None]:
    """Choose what every sequence inside the block keeps for its backward pass, or raise.

    Spikes and states are the same for all three.

    Args:
        name: ``"state"`` keeps the states over time (the default; exact). ``"input"`` keeps the
            input and computes the states once more in the backward pass (exact, and less memory
            where the input is stored anyway or is constant in time; the default for constant input
            on the CPU with numba). ``"half"`` keeps the distance of the membrane from the threshold
            in bfloat16: half of the memory, the spikes stay exact, and gradients are off by 1e-3 or
            less for most surrogates (``benchmarks/residuals.py`` measures it for each). This is
            relative to the sum of the magnitudes: the gradient of a learned scalar, such as one
            beta of a layer, is a sum whose terms may cancel, and can be off by a fifth or more.

    Raises:
        ValueError: no such residual.
        RuntimeError: inside the block, a neuron cannot do it.

    Source: our own; bfloat16 residuals as in mixed-precision training.

    >>> import spikeloom as snn
    >>> with snn.residual("input"):
    ...     spk, mem = snn.Leaky(0.9, mode="sequence")(torch.ones(4, 1, 2, requires_grad=True))
    """
    token = _residual.set(checks.choice("residual", name, RESIDUALS))
    try:
        yield
    finally:
        _residual.reset(token)


def forced_residual() -> str:
    """The residual that `residual` set; "" where the choice is open.

    >>> with residual("half"):
    ...     forced_residual()
    'half'
    """
    return _residual.get()


@contextmanager
def together(work: int = 0) -> Iterator[None]:
    """Inside the block, a sequence is served like the largest one before it.

    What a large layer has paid for, such as a compiler that was loaded, small layers of the same
    network use as well.

    Args:
        work: neuron steps of a sequence that is run in parts.

    >>> import spikeloom as snn
    >>> with together():
    ...     spk, mem = snn.Leaky(0.9, mode="sequence")(torch.ones(4, 1, 2))
    """
    token = _largest.set([work])
    try:
        yield
    finally:
        _largest.reset(token)


def residual_refusal(
    transition: Transition, x: Tensor, residual: str, dtype: torch.dtype | None = None
) -> str | None:
    """Why a residual does not serve a call, computed in ``dtype``; None if it does."""
    if residual in ("", "state"):
        return None
    if name_of(transition, x, dtype) == "eager":
        return f"only printed loops choose what they keep, and {_why_eager(transition, x)}"
    if residual == "half" and not transition.compared():
        return (
            "its spikes depend on more than the distance of the membrane from the threshold "
            "that it leaves behind"
        )
    return None


def _why_eager(transition: Transition, x: Tensor) -> str:
    if _forced.get() == "eager":
        return 'snn.backend("eager") is active'
    return next(
        (r for e in _TABLE.values() if (r := e.refusal(transition, x, x.dtype))),
        "none of them serves this",
    )


def chosen(
    transition: Transition, x: Tensor, dtype: torch.dtype, steps: int = 1
) -> tuple[str, Any]:
    """Name of the backend that runs this call, and its ``run``; None for the eager loop.

    Args:
        transition: what to run.
        x: its input.
        dtype: in which it computes.
        steps: how often the input is used, T where it is constant in time.

    Raises:
        RuntimeError: the backend or the residual that the user chose does not serve this call.
    """
    if torch.compiler.is_exporting() and _forced.get() is None:
        return "eager", None  # plain operations: the file needs no Spikeloom, and ONNX has them
    if not torch.compiler.is_compiling():
        name, stored = _choice(transition, x, dtype, steps)
    else:
        name, stored = _constant_choice(transition, x.dtype, x.device.type, dtype)
    return name, None if name == "eager" else partial(_TABLE[name].run, residual=stored)


def _choice(transition: Transition, x: Tensor, dtype: torch.dtype, steps: int) -> tuple[str, str]:
    name = name_of(transition, x, dtype, steps)
    stored = _residual.get()
    reason = residual_refusal(transition, x, stored, dtype) if torch.is_grad_enabled() else None
    if reason:
        raise RuntimeError(
            f"residual {stored!r} does not serve {transition.neuron.__name__}: {reason}; "
            'leave the choice open or write snn.residual("state")'
        )
    return name, stored


def name_of(
    transition: Transition, x: Tensor, dtype: torch.dtype | None = None, steps: int = 1
) -> str:
    """Name of the backend for this call; arguments as for `chosen`.

    Raises:
        RuntimeError: the backend that the user chose does not serve it.
    """
    name = _forced.get()
    dtype = dtype or x.dtype
    if name is None:
        work = _weighed(x.numel() * steps)
        return next(
            (e.name for e in reversed(_TABLE.values()) if _serves(e, transition, x, dtype, work)),
            "eager",
        )
    reason = None if name == "eager" else _TABLE[name].refusal(transition, x, dtype)
    if reason:
        raise RuntimeError(
            f"backend {name!r} does not serve {transition.neuron.__name__}: {reason}; "
            'leave the choice open or write snn.backend("eager")'
        )
    return name


def checks_input(name: str) -> bool:
    """Whether a backend itself raises for an input that is not finite."""
    return name != "eager" and _TABLE[name].checks_input


def _weighed(work: int) -> int:
    """The work that decides for a sequence: its own, or inside `together` the largest so far."""
    largest = _largest.get()
    if largest is None:
        return work
    largest[0] = max(largest[0], work)
    return largest[0]


def _serves(
    entry: Backend, transition: Transition, x: Tensor, dtype: torch.dtype, work: int
) -> bool:
    return (
        entry.pays(work)
        and entry.available() is None
        and entry.refusal(transition, x, dtype) is None
    )


def _constant_choice(
    transition: Transition, dtype: torch.dtype, device: str, computed: torch.dtype
) -> tuple[str, str]:
    return _choice(transition, torch.empty(0, dtype=dtype, device=device), computed, 1)


# torch.compile then calls it while tracing and keeps the answer
# (torch.compiler.assume_constant_result would import the compiler here, which costs seconds)
_constant_choice._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess] (torch's own marker)
