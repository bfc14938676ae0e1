"""When events pay: the density of an input, what a layer remembers of it, and what is kept for the backward pass.

A sample of rows says first whether listing the entries is worth it; the listing itself then gives up where there are
too many. A layer that went by events last time is not sampled again. Two thresholds, one to begin with events and a
higher one to stop, keep a layer from changing at every call.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from ...core import checks
from . import compiled

__all__ = [
    "Density",
    "Thresholds",
    "by_input_alone",
    "decided",
    "demand",
    "refusal",
    "remembered",
    "routed",
    "spikes_as_bits",
]

SMALL = 2**21  # multiply-adds below which the dense product is faster than the first look at its input
WORTH = 2**24  # and below which no loop is compiled for it
LARGE = 2**27  # and below which it is small
SAMPLE = 2**14  # elements that are looked at first

_packing: ContextVar[bool] = ContextVar("spikeloom_spikes_as_bits", default=False)
_forgetting: ContextVar[bool] = ContextVar("spikeloom_by_input_alone", default=False)
_numbers = itertools.count(1)
_known: "WeakValueDictionary[int, Density]" = WeakValueDictionary()  # operators pass numbers, not objects


class Thresholds(NamedTuple):
    """Densities below which a layer begins to use events, and above which it stops, and their part for small work."""

    begin: float
    stop: float
    small: float = 0.5  # where fixed costs count


class Density:
    """What one layer remembers of its inputs; never part of a ``state_dict``.

    >>> density = Density()
    >>> str(density)
    ''
    """

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.events, self.value = False, float("nan")
        _known[self.number] = self

    def note(self, x: Tensor, count: int | None, limit: int) -> None:
        """Remember that ``count`` elements of ``x`` [R, K] were listed; None: that there are more than ``limit``."""
        self.events = count is not None
        if count is None:
            seen = self.value if self.value == self.value else _sampled(x)  # NaN: nobody looked before
            self.value = max(seen, limit / x.numel())
        else:
            self.value = count / x.numel()

    def __str__(self) -> str:
        if self.value != self.value:
            return ""
        return f"{'events' if self.events else 'dense'} (density {100 * self.value:.3g} %)"

    def __reduce__(self) -> Any:
        return Density, ()


def remembered(number: int) -> Density:
    """The `Density` of this number, or a new one if its layer is gone."""
    return _known.get(number) or Density()


@contextmanager
def spikes_as_bits() -> Iterator[None]:
    """Inside the block, spike-aware layers keep their inputs as bits also where they compute densely.

    The input of a product is otherwise kept as it is, which costs nothing more where somebody else keeps it as well.

    >>> layer = torch.nn.Linear(64, 2)
    >>> with spikes_as_bits():
    ...     y = snn.run(layer, torch.eye(64).expand(5, 64, 64))
    """
    token = _packing.set(True)
    try:
        yield
    finally:
        _packing.reset(token)


@contextmanager
def by_input_alone() -> Iterator[None]:
    """Inside the block, whether events pay depends on the input alone and not on what came before.

    What is computed twice, such as a checkpointed segment, is then computed in the same way twice.

    >>> with by_input_alone():
    ...     y = snn.run(torch.nn.Linear(64, 2), torch.eye(64).expand(5, 64, 64))
    """
    token = _forgetting.set(True)
    try:
        yield
    finally:
        _forgetting.reset(token)


def _packs() -> bool:
    return _packing.get()


_packs._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess] (torch.compile keeps the answer)


def refusal(x: Tensor, weight: Tensor) -> str | None:
    """Why neither events nor bits can serve this call."""
    if not (x.is_cpu and weight.is_cpu):
        return f"events are computed on the CPU, got an input on {x.device} and a weight on {weight.device}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on, which computes in 16 bits"
    if x.dtype not in (torch.float32, torch.float64) or x.dtype != weight.dtype:
        return f"events are computed in float32 or float64, got an input of {x.dtype} and a weight of {weight.dtype}"
    if not torch.compiler.is_compiling() and checks.transformed():
        return "a torch.func transform is running, which sees ordinary operations only"
    return None


def demand(events: str, reason: str | None) -> None:
    """Refuse ``events="always"`` where it cannot be obeyed.

    Raises:
        RuntimeError: with the reason.
        ImportError: numba is missing.
    """
    if events != "always":
        return
    if reason:
        raise RuntimeError(f'events="always" cannot be obeyed: {reason}; write events="auto"')
    if not compiled.available():
        checks.require("numba", extra="cpu", purpose='events="always"')


def routed(
    x: Tensor, others: tuple[Tensor | None, ...], work: int, events: str, bounds: Thresholds, density: Density
) -> int | None:
    """How to compute: 0: densely; None: through the operator; else the limit for computing directly, without gradient.

    Args:
        x: the input, [R, K].
        others: weight and bias.
        work: multiply-adds of the dense product.
        events: see `decided`; so are ``bounds`` and ``density``.
        bounds: see there.
        density: see there.
    """
    wanted = torch.is_grad_enabled()
    weight = others[0]
    bits = _packs() and wanted and weight is not None and weight.requires_grad
    if checks.watched(x):
        return None if bits or events == "always" or (events == "auto" and work >= WORTH) else 0
    limit = decided(x, work, events, bounds, density)
    if limit == 0 and not bits:
        return 0
    return None if wanted and any(t is not None and t.requires_grad for t in (x, *others)) else limit


def decided(x: Tensor, work: int, events: str, bounds: Thresholds, density: Density) -> int:
    """How many entries ``x`` [R, K] may have for events to pay; 0: they do not.

    Args:
        x: the input.
        work: multiply-adds of the dense product.
        events: ``"auto"``, ``"always"`` or ``"never"``.
        bounds: of this kind of layer.
        density: what the layer remembers; told what was seen.
    """
    density.value = float("nan")
    if events == "never" or x.numel() == 0:
        return 0
    if events == "always":
        return x.numel()
    remembers = not _forgetting.get()
    if not compiled.available() or work < (SMALL if remembers and compiled.in_use() else WORTH):
        return 0
    goes_on = remembers and density.events  # then no look at a sample: the listing gives up where there are too many
    bound = bounds.stop if goes_on else bounds.begin
    bound = bound if work >= LARGE else bound * bounds.small
    if not goes_on:
        density.value = _sampled(x)
        if density.value > 1.25 * bound:
            density.events = False
            return 0
    return max(1, int(bound * x.numel()))


def _sampled(x: Tensor) -> float:
    """Density of some rows, evenly spread."""
    rows = max(1, min(len(x), SAMPLE // x.shape[1], 32))
    sample: Any = x.detach()[:: len(x) // rows].numpy()
    return float(np.count_nonzero(sample)) / sample.size
