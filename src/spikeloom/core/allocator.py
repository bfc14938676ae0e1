"""Memory of the CPU: how the system hands out large blocks."""

import ctypes
import platform
import sys
from functools import cache
from typing import Any

from torch import Tensor

__all__ = ["in_large_pages", "tune_cpu_allocator"]

PAGE, LARGE = 2**12, 2**22  # bytes of a page; of a tensor from which on large pages are asked for
_MADV_HUGEPAGE = 14  # <linux/mman.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_NEVER = -1  # as an unsigned size: the largest


def tune_cpu_allocator() -> None:
    """Let glibc keep large blocks of memory for this process instead of returning them to the system at every call.

    PyTorch has no cache of CPU memory: a tensor above 32 MiB is mapped anew each time it is made and its pages are
    touched one by one, which costs more than a fused loop over it. Afterwards freed memory stays with the process, so
    that its resident size remains at its peak. It acts on the whole process and cannot be undone; nothing in the
    library calls it. Call it once, before the first large tensor.

    Raises:
        RuntimeError: the C library is not glibc (macOS, Windows, musl), or refused.

    Source: mallopt(3), ``M_MMAP_MAX`` and ``M_TRIM_THRESHOLD``. Measured by ``benchmarks/loop.py``.

    >>> import spikeloom as snn
    >>> snn.tune_cpu_allocator  # call it in a script, before the first large tensor
    <function tune_cpu_allocator at 0x...>
    """
    if platform.libc_ver()[0] != "glibc":
        raise RuntimeError(
            f"tune_cpu_allocator sets options of glibc, this process runs on {platform.system()} without it; "
            "leave the call out, or choose an allocator that keeps its blocks, such as jemalloc or tcmalloc"
        )
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)):
        raise RuntimeError("glibc refused the options M_MMAP_MAX and M_TRIM_THRESHOLD; leave the call out")


def in_large_pages(fresh: Tensor) -> Tensor:
    """The same tensor; if it is large and of the CPU, its memory is put into pages of 2 MiB when it is written.

    Memory that the system has just mapped is given page by page as it is touched, which in pages of 4 KiB takes longer
    than a loop over it. It is a hint: where the system has no such pages, or the memory was in use before, nothing
    changes. No memory is kept.

    Source: madvise(2), ``MADV_HUGEPAGE``. Measured by ``benchmarks/loop.py``.
    """
    size = fresh.numel() * fresh.element_size()
    if size >= LARGE and type(fresh) is Tensor and fresh.is_cpu:
        advise = _madvise()
        if advise is not None:
            start = -(-fresh.data_ptr() // PAGE) * PAGE
            advise(start, size - PAGE, _MADV_HUGEPAGE)
    return fresh


@cache
def _madvise() -> Any:
    if sys.platform != "linux":
        return None
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is not None:
        advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return advise
