"""Training under ``torch.autocast``, whose cache of cast weights outlives a weight update."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["autocast", "fresh_casts"]


def autocast(device: str) -> str | None:
    """Name of the dtype to which autocast converts on a kind of device; None where it is off.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     autocast("cpu")
    'bfloat16'
    """
    if not torch.is_autocast_enabled(device):
        return None
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.")


@contextmanager
def fresh_casts() -> Iterator[None]:
    """Inside the block autocast casts weights anew at every use.

    Its cache lives until the outermost ``with torch.autocast(...)`` ends. A loop with all its
    updates inside would run every batch with the weights of the first one.

    >>> with fresh_casts():
    ...     torch.is_autocast_cache_enabled()
    False
    """
    before = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
