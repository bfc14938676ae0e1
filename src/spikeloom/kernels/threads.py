"""Splits a loop into blocks, and distributes the blocks over threads where that pays.

The threads are those of torch's own OpenMP library where torch brings one that can be called:
after each operation of torch they wait actively for the next one, which takes the processor from
any other thread (measured on two cores: a fifth of a training step).
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

__all__ = ["sweep"]

BLOCK = 32768  # neurons; smaller blocks halve the bandwidth, larger ones do not fit into the cache
PARALLEL = 1_000_000  # steps of work; below, a second thread does not pay

_Work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _team() -> Any:
    """Return ``GOMP_parallel`` of the OpenMP library that torch brings; None if it has none."""
    home = Path(torch.__file__).parent
    for folder in (home / "lib", home.parent / "torch.libs"):
        for file in sorted(folder.glob("libgomp*.so*")):
            return ctypes.CDLL(str(file)).GOMP_parallel
    return None


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Return the thread pool of this process."""
    return ThreadPoolExecutor(workers, thread_name_prefix="spikeloom")


_forked: list[bool] = []  # filled in a child of a fork


def _after_fork() -> None:
    """Threads do not survive a fork: a child that used them would wait forever."""
    _forked.append(True)
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
        _shared(function, blocks, workers)


def _shared(
    function: Callable[[int, int], Any], blocks: list[tuple[int, int]], workers: int
) -> None:
    """Let each thread take one block after another."""
    waiting = iter(blocks)
    inference = torch.is_inference_mode_enabled()
    errors: list[BaseException] = []

    def take(_: Any) -> None:
        with torch.inference_mode(inference), torch.no_grad():  # modes are those of a thread
            for start, stop in waiting:
                try:
                    function(start, stop)
                except BaseException as error:  # C would lose it
                    errors.append(error)
                if errors:
                    return

    team = None if _forked else _team()
    if team is None:
        list(_pool(workers).map(take, range(workers)))
    else:
        team(_Work(take), None, workers, 0)
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # else error, traceback and this list would keep each other in memory
