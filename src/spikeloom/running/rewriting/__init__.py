"""Rewrites: alternative computations of some layers of a recorded program, with the same result.

Each rewrite is one file with ``NAME`` and ``applied(execution, layer, span) -> str``. That function
runs the pending occurrences of a layer, possibly together with their only reader, and returns a
description for the plan; or it returns "" and the plain interpreter runs the layer. Removing a
module from `_ALL` removes the rewrite.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...core import checks
from . import events, pooling, readout
from .names import active, chosen

__all__ = ["applied", "rewrites"]

_ALL: dict[str, Any] = {module.NAME: module for module in (pooling, readout, events)}


@contextmanager
def rewrites(*names: str) -> Iterator[None]:
    """Use only these rewrites inside the block; without names, use none.

    Args:
        names: ``"pooling"``: a convolution and the max pooling that is its only reader run
            together, a few images at a time. ``"readout"``: a neuron and the linear layer with few
            outputs that is its only reader run together, a few samples at a time. ``"events"``:
            a linear layer or a convolution whose input is mostly zero is computed from the nonzero
            elements if that was faster in a timing on this machine.

    Raises:
        ValueError: a name is unknown.

    >>> import torch, spikeloom as snn
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), snn.Leaky(0.9, init_hidden=True))
    >>> with snn.rewrites():
    ...     spk = snn.run(net, torch.ones(4, 1, 2))
    """
    for name in names:
        checks.choice("rewrite", name, _ALL)
    token = chosen.set(names)
    try:
        yield
    finally:
        chosen.reset(token)


def applied(execution: Any, layer: Any, span: range) -> str:
    """Run a layer by the first rewrite that applies; return its description, or "" if none does."""
    for name, rewrite in _ALL.items():
        how = rewrite.applied(execution, layer, span) if active(name) else ""
        if how:
            return how
    return ""
