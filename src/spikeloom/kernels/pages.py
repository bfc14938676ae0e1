"""Memory of large tensors: the system maps fresh memory page by page, at the first write.

A page of 4 KiB costs about as much as the loop that fills it. Linux maps 2 MiB at once where a
program advises it (transparent huge pages, setting ``madvise`` or ``always``). Memory that is used
again costs nothing.
"""

import ctypes
import mmap
from collections.abc import Callable, Sequence
from functools import cache
from threading import RLock
from weakref import finalize

import torch
from torch import Tensor

__all__ = ["forget", "large", "reused"]

MOST = 2**28  # bytes that wait to be used again
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


def reused(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return an empty tensor on the CPU for work that no caller sees.

    Its memory waits for the next tensor of as many bytes when nothing refers to it any more.

    >>> reused((2, 3), torch.float32).shape
    torch.Size([2, 3])
    """
    size = torch.Size(shape).numel() * dtype.itemsize
    if size < LEAST:
        return torch.empty(shape, dtype=dtype)
    with torch.inference_mode(False):
        memory = _waiting.take(size)
        if memory is None:
            memory = large(torch.empty(size, dtype=torch.uint8))
        array = memory.numpy()[:]
        finalize(array, _waiting.give, memory).atexit = False  # when the tensor's memory is freed
        return torch.from_numpy(array).view(dtype).view(tuple(shape))


def forget() -> None:
    """Return all memory that waits to be used again to the system."""
    with _waiting.lock:
        _waiting.free.clear()


class _Waiting:
    """Memory that nothing uses."""

    def __init__(self) -> None:
        self.free: list[Tensor] = []
        self.lock = RLock()  # memory may be given while this thread takes some

    def take(self, size: int) -> Tensor | None:
        """Return memory of as many bytes; None if there is none."""
        with self.lock:
            for i, memory in enumerate(self.free):
                if memory.numel() == size:
                    return self.free.pop(i)
        return None

    def give(self, memory: Tensor) -> None:
        """Keep memory for later, instead of that of earlier networks if it were too much."""
        with self.lock:
            if sum(other.numel() for other in self.free) + memory.numel() > MOST:
                self.free.clear()
            if memory.numel() <= MOST:
                self.free.append(memory)


_waiting = _Waiting()


@cache
def _advise() -> Callable[[int, int, int], int] | None:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise
