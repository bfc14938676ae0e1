"""Which thread runs a network: its neurons hold the state of one run, so that two would mix.

`spikeloom.run` and `spikeloom.layerwise` claim the modules that have a state. Another thread that
calls or resets one of them meanwhile is refused. Two plain loops over one network are not seen.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["alone", "claimed", "refuse_others"]

Owner = tuple[int, int]  # process and thread: a fork copies the table, but not the threads

claimed: dict[int, Owner] = {}  # by identity of a module


def _me() -> Owner:
    return os.getpid(), threading.get_ident()


@contextmanager
def alone(modules: Iterable[Any]) -> Iterator[None]:
    """Claim modules for this thread inside the block.

    Args:
        modules: of the networks that run; those without a state do not count.

    Raises:
        RuntimeError: another thread has one of them.

    >>> import spikeloom as snn
    >>> with alone([snn.Leaky(0.9)]):
    ...     len(claimed)
    1
    """
    me = _me()
    mine: list[int] = []
    try:
        for module in modules:
            if not hasattr(type(module), "_hidden"):
                continue
            if claimed.get(id(module)) == me:
                continue  # a run inside a run
            owner = claimed.setdefault(id(module), me)  # one operation, so that it needs no lock
            if owner[0] != me[0]:
                claimed[id(module)] = owner = me
            if owner != me:
                raise _refusal(module)
            mine.append(id(module))
        yield
    finally:
        for key in mine:
            claimed.pop(key, None)


def refuse_others(module: Any) -> None:
    """Refuse to use a module that another thread has claimed.

    Args:
        module: what is about to be called or reset.

    Raises:
        RuntimeError: another thread has it.

    >>> import spikeloom as snn
    >>> refuse_others(snn.Leaky(0.9))
    """
    owner = claimed.get(id(module))
    if owner is not None and owner[1] != threading.get_ident() and owner[0] == os.getpid():
        raise _refusal(module)


def _refusal(module: Any) -> RuntimeError:
    return RuntimeError(
        f"the network of this {type(module).__name__} is running in another thread, and its "
        "neurons "
        "hold the state of one run; give each thread a network of its own: copy.deepcopy(net)"
    )
