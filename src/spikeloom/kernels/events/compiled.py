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
from ..machine_code import machine_code
from ..sources import compiled_module
from ..threads import pool
from . import loops, vectors

__all__ = ["addressed", "available", "in_use", "loop", "parts", "split"]

PARALLEL = 2_000_000  # multiply-adds below which a second thread does not pay: about 0.2 ms of one
_HEADER = "import numba\nimport numpy as np\n" + vectors.TEXT
_JIT = "\n\n@numba.njit(nogil=True, error_model='numpy', cache=CACHE)\n"
_INSIDE = "\n@numba.njit(error_model='numpy', inline='always')\n"
_SIGNATURE = """
real, wide, short, whole = *map(numba.types.CPointer, (numba.{real}, numba.int64, numba.int32)), numba.int64

@numba.njit(numba.void(real, real, real, real, wide, short, real, wide, whole, whole, whole, whole),
            error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""


def available() -> bool:
    """Whether numba is installed."""
    return checks.installed("numba")


available._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess] (torch.compile keeps the answer)


def in_use() -> bool:
    """Whether a loop was asked for before, in this process: the next one then costs little."""
    return bool(_module.cache_info().currsize or addressed.cache_info().currsize)


@cache
def _module() -> Any:
    return compiled_module(_HEADER + "".join(_JIT + inspect.getsource(getattr(loops, n)) for n in loops.__all__))


@cache
def loop(name: str) -> Callable[..., Any]:
    """A function of `loops`, compiled for the types of each call."""
    return getattr(_module(), name)


@cache
def addressed(dtype: torch.dtype) -> Callable[..., None]:
    """`loops.product_few`, which takes addresses: a later process loads it without numba."""
    inside = "".join(_INSIDE + inspect.getsource(one) for one in (loops.find, loops.gather_few))
    signature = _SIGNATURE.format(real=str(dtype).removeprefix("torch."))
    source = _HEADER + inside + signature.rstrip() + "\n" + inspect.getsource(loops.product_few)
    return machine_code(source, "product_few", pointers=8, numbers=4)


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
