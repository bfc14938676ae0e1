"""How many threads a network deserves.

The threads of an operation wait for each other by spinning. Where an operation takes less than some
milliseconds, they wait longer than they work; with other processes on the machine such a training
gets slower by an order of magnitude.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from .settings import whole

__all__ = ["SMALL", "Threads", "choose", "using"]

SMALL = 1_000_000_000  # multiply-adds of the forward pass of a batch: some 50 ms on one core


class Threads(NamedTuple):
    """A number of threads and the reason for it."""

    number: int
    why: str


def choose(given: int | None, multiply_adds: int) -> Threads:
    """Threads for a network whose forward pass costs ``multiply_adds`` a batch.

    Args:
        given: what the user chose; it is obeyed. None: one thread below `SMALL`, else as many as
            torch would use, but not more than there are processors for this process.
        multiply_adds: of the products with weights, for one batch.

    >>> choose(None, 20_000_000)
    Threads(number=1, why='20 million multiply-adds a batch; more threads pay above 1,000 million')
    >>> choose(3, 20_000_000).number
    3
    """
    if given is not None:
        return Threads(whole("threads", given), "as given")
    cost = f"{max(1, round(multiply_adds / 1e6)):,} million multiply-adds a batch"
    if multiply_adds < SMALL:
        return Threads(1, f"{cost}; more threads pay above {SMALL // 1_000_000:,} million")
    return Threads(max(1, min(torch.get_num_threads(), _processors())), cost)


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def using(number: int) -> Iterator[None]:
    """Let torch use ``number`` threads inside the block, and as many as before after it.

    >>> before = torch.get_num_threads()
    >>> with using(1):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
