"""Memory of the CPU: how glibc hands out large blocks."""

import ctypes
import platform

__all__ = ["tune_cpu_allocator"]

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
