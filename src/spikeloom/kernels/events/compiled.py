"""The loops over events as machine code: compiled on first use, kept on disk, and spread over threads.

They release Python's lock and are serial inside; large work is split by rows over as many threads as
``torch.get_num_threads()`` allows.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from ...core import checks
from ..sources import compiled_module
from ..threads import pool
from . import loops, vectors

__all__ = ["available", "in_use", "loop", "parts", "split"]

PARALLEL = 2_000_000  # multiply-adds below which a second thread does not pay: about 0.2 ms of one
_HEADER = "import numba\nimport numpy as np\n" + vectors.TEXT
_JIT = "\n\n@numba.njit(nogil=True, error_model='numpy', cache=CACHE)\n"


def available() -> bool:
    """Whether numba is installed."""
    return checks.installed("numba")


available._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess] (torch.compile keeps the answer)


def in_use() -> bool:
    """Whether a loop was asked for before, in this process: the next one then costs little."""
    return _module.cache_info().currsize > 0


@cache
def _module() -> Any:
    return compiled_module(_HEADER + "".join(_JIT + inspect.getsource(getattr(loops, n)) for n in loops.__all__))


def loop(name: str) -> Callable[..., Any]:
    """A function of `loops`, compiled for the types of each call."""
    return getattr(_module(), name)


def parts(size: int, work: float) -> list[tuple[int, int]]:
    """Ranges of ``range(size)``, one for each thread that pays for ``work`` multiply-adds."""
    workers = min(torch.get_num_threads(), max(size, 1)) if work >= PARALLEL else 1
    width = max(1, -(-size // workers))
    return [(start, min(start + width, size)) for start in range(0, size, width)] or [(0, 0)]


def split(run: Callable[..., None], arguments: list[list[Any]]) -> None:
    """Call ``run`` with each list of arguments, each in its own thread if there are several."""
    if len(arguments) == 1:
        run(*arguments[0])
        return
    run(*arguments[0][:-2], 0, 0)  # compiles once, not in every thread
    list(pool(len(arguments)).map(lambda one: run(*one), arguments))
