"""Splitting a loop over neurons into blocks, and the blocks over threads where that pays."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

__all__ = ["pool", "sweep"]

BLOCK = 32768  # neurons; smaller blocks halve the bandwidth that is reached, larger ones fall out of the cache
PARALLEL = 1_000_000  # neuron steps below which a second thread does not pay


@cache
def pool(workers: int) -> ThreadPoolExecutor:
    """The threads of this process."""
    return ThreadPoolExecutor(workers, thread_name_prefix="spikeloom")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: a child that found the pool would wait for ever
    os.register_at_fork(after_in_child=pool.cache_clear)


def sweep(function: Callable[[int, int], None], size: int, steps: int, block: int = BLOCK) -> None:
    """Call ``function(start, stop)`` for every block of ``size`` neurons; honours ``torch.get_num_threads()``.

    Args:
        function: releases the interpreter lock while it works.
        size: number of neurons.
        steps: work for each of them.
        block: neurons in a block.
    """
    workers = torch.get_num_threads()
    if workers == 1 or size * steps < PARALLEL:
        for start in range(0, size, block):
            function(start, min(start + block, size))
        return
    function(0, 0)  # compiles once, not in every thread
    width = min(block, -(-size // workers))
    blocks = [(start, min(start + width, size)) for start in range(0, size, width)]
    list(pool(workers).map(lambda one: function(*one), blocks))
