"""Rewrites: other ways to compute some layers of a recorded program, with the same result.

Each is one file with ``NAME`` and ``applied(execution, layer, span) -> str``: it runs the pending
occurrences of a layer, perhaps together with their only reader, and returns how, for the plan; or
it returns "" and leaves the layer to the plain interpreter. Deleting a file from `_ALL` removes the
rewrite.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ...core import checks
from . import events, pooling

__all__ = ["applied", "rewrites"]

_ALL: dict[str, Any] = {module.NAME: module for module in (pooling, events)}
_active: ContextVar[tuple[str, ...]] = ContextVar("spikeloom_rewrites", default=tuple(_ALL))


@contextmanager
def rewrites(*names: str) -> Iterator[None]:
    """Use only these rewrites inside the block; without names none, the plain interpreter.

    Args:
        names: ``"pooling"``: a convolution and the max-pooling that alone reads it run a few
            images at a time. ``"events"``: a linear layer whose input is mostly zero is computed
            from what is not zero, where both ways, timed on this machine, said that it pays.

    Raises:
        ValueError: there is no such rewrite.

    >>> import torch, spikeloom as snn
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), snn.Leaky(0.9, init_hidden=True))
    >>> with snn.rewrites():
    ...     spk = snn.run(net, torch.ones(4, 1, 2))
    """
    for name in names:
        checks.choice("rewrite", name, _ALL)
    token = _active.set(names)
    try:
        yield
    finally:
        _active.reset(token)


def applied(execution: Any, layer: Any, span: range) -> str:
    """How a rewrite ran the pending occurrences of a layer; "" if none did."""
    for name in _active.get():
        how = _ALL[name].applied(execution, layer, span)
        if how:
            return how
    return ""
