"""Splits a loop into blocks, and distributes the blocks over threads where that pays."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

__all__ = ["sweep"]

BLOCK = 32768  # neurons; smaller blocks halve the bandwidth, larger ones do not fit into the cache
PARALLEL = 1_000_000  # steps of work; below, a second thread does not pay


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Return the thread pool of this process."""
    return ThreadPoolExecutor(workers, thread_name_prefix="spikeloom")


if hasattr(
    os, "register_at_fork"
):  # threads do not survive a fork: a child that used the pool would wait forever
    os.register_at_fork(after_in_child=_pool.cache_clear)


def sweep(function: Callable[[int, int], Any], size: int, steps: float, block: int = BLOCK) -> None:
    """Call ``function(start, stop)`` on blocks of ``range(size)``, on torch's number of threads.

    Args:
        function: releases the interpreter lock while it works.
        size: number of neurons or rows.
        steps: work for each of them.
        block: number of neurons or rows in a block.
    """
    workers = torch.get_num_threads()
    alone = workers == 1 or size * steps < PARALLEL
    width = max(1, block if alone else min(block, -(-size // workers)))
    blocks = [(start, min(start + width, size)) for start in range(0, size, width)]
    if alone or len(blocks) == 1:
        for one in blocks:
            function(*one)
    else:
        list(_pool(workers).map(lambda one: function(*one), blocks))
