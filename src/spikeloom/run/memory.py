"""Memory of a run: segments of time, and what of them is kept for the backward pass.

Run in segments, only one segment of every layer's currents, spikes and gradients exists at a time. ``"compressed"``
keeps of each segment what `snn.residual` calls ``"half"``, and spikes as bits. ``"checkpoint"`` keeps the states
between segments only and computes a segment once more for its gradients, with the same random numbers. The last segment
is kept: its gradients come first, so that it is never alive beside another.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from contextvars import copy_context
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from ..core.graph import sealed
from ..core.stateful import Stateful
from ..core.taps import untold
from ..kernels.events.choice import by_input_alone
from .rules import is_batch_norm

__all__ = ["MEMORIES", "joined", "segment_length", "segments"]

MEMORIES = ("exact", "compressed", "checkpoint")
SEGMENTS = 0.6  # times the square root of T
ROWS = 64  # samples x steps of a segment below which a product of matrices is slower


def segment_length(num_steps: int, batch: int) -> int:
    """Steps of a segment.

    Of a checkpoint, n steps are alive at a time beside T / n states between segments, so that n grows with the square
    root of T. More and shorter segments need little less memory, and more time.

    >>> segment_length(100, 32), segment_length(100, 2), segment_length(25, 32)
    (17, 32, 9)
    """
    least = math.ceil(ROWS / max(batch, 1))
    return min(num_steps, max(least, math.ceil(num_steps / math.ceil(SEGMENTS * math.sqrt(num_steps)))))


def segments(net: nn.Module, parts: list[Any], run: Callable[[Any], Any], *, again: bool) -> list[Any]:
    """Run segment after segment, each from the states that the one before it left.

    Args:
        net: whose neurons and delays carry the states.
        parts: the input of each segment.
        run: computes one segment.
        again: keep no more than the states between segments and the last of them, and compute the others again for
            their gradients.
    """
    keepers = list(dict.fromkeys(m for m in net.modules() if isinstance(m, Stateful)))
    if not again or not torch.is_grad_enabled():
        return [run(part) for part in parts]

    with by_input_alone():
        choices = copy_context()  # backend and residual too: backward() is often called outside of their blocks

    def pure(part: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        for keeper, state in zip(keepers, states, strict=True):
            keeper._hidden = state
        return choices.copy().run(run, part), [keeper._hidden for keeper in keepers]

    results = []
    for part in parts[:-1]:
        states = [keeper._hidden for keeper in keepers]
        found: Any = checkpoint(
            pure, part, states, use_reentrant=False, context_fn=lambda: (nullcontext(), _Unnoticed(net, keepers))
        )
        result, states = pytree.tree_map_only(Tensor, sealed, found)
        for keeper, state in zip(keepers, states, strict=True):
            keeper._hidden = state
        results.append(result)
    return [*results, run(parts[-1])]


class _Unnoticed:
    """Leave no trace: remembered states are put back, running statistics do not move, taps are told nothing.

    May be entered again.
    """

    def __init__(self, net: nn.Module, keepers: list[Stateful]) -> None:
        self.net, self.keepers = net, keepers
        self.before: list[Any] = []
        self.norms: list[tuple[Any, Any, Tensor | None]] = []
        self.deaf = ExitStack()

    def __enter__(self) -> None:
        self.deaf.enter_context(untold(self.net))
        self.before = [keeper._hidden for keeper in self.keepers]
        modules: Iterator[Any] = self.net.modules()
        for module in modules:
            if is_batch_norm(module):
                count = module.num_batches_tracked
                self.norms.append((module, module.momentum, None if count is None else count.clone()))
                module.momentum = 0.0

    def __exit__(self, *error: Any) -> None:
        self.deaf.close()
        while self.norms:
            module, momentum, count = self.norms.pop()
            module.momentum = momentum
            if count is not None:
                module.num_batches_tracked.copy_(count)
        for keeper, state in zip(self.keepers, self.before, strict=True):
            keeper._hidden = state


def joined(results: list[Any]) -> Any:
    """The results of all segments along time."""
    return pytree.tree_map(lambda *values: torch.cat(values) if isinstance(values[0], Tensor) else values[0], *results)
