"""Large pages for large tensors: the system maps fresh memory page by page, at the first write.

A page of 4 KiB costs about as much as the loop that fills it. Linux maps 2 MiB at once where a
program advises it (transparent huge pages, setting ``madvise`` or ``always``).
"""

import ctypes
import mmap
from collections.abc import Callable
from functools import cache

from torch import Tensor

__all__ = ["large"]

LEAST = 2**22  # bytes; below, the C library reuses memory that is mapped already


def large(tensor: Tensor) -> Tensor:
    """Return a tensor that is not written yet, with large pages where the system has them.

    >>> large(torch.empty(3)).shape
    torch.Size([3])
    """
    memory = tensor.untyped_storage()
    size = memory.nbytes()
    advise = _advise() if size >= LEAST and tensor.is_cpu else None
    if advise is not None:
        page = mmap.PAGESIZE
        start = -(-memory.data_ptr() // page) * page
        whole = (memory.data_ptr() + size - start) // page
        advise(start, whole * page, mmap.MADV_HUGEPAGE)
    return tensor


@cache
def _advise() -> Callable[[int, int, int], int] | None:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise
