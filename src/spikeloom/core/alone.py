"""Which thread runs a network: its neurons hold the state of one run, so that two would mix.

`spikeloom.run` and `spikeloom.layerwise` claim the modules that have a state. Another thread that
calls or resets one of them meanwhile is refused. In plain loops, a module knows the thread that
moved its state last and those whose state it was before: such a thread is refused when it goes on
without a reset, because the state is no longer its own.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

__all__ = ["alone", "claimed", "go_on", "refuse_others", "stayed", "take"]

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
            take(module)
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


class _Thread:
    """Identity of a thread; unlike its number it is never given to another one."""


class _Here(threading.local):
    def __init__(self) -> None:
        self.thread = _Thread()


_here = _Here()
_MIXED = _Thread()  # moves a state that two threads wrote at once, until a reset


def take(module: Any) -> None:
    """Make the state of a module that of this thread, as a reset or ``snn.detach`` does.

    >>> import spikeloom as snn
    >>> take(snn.Leaky(0.9))
    """
    before = module._mover
    thread = _here.thread
    if before is thread:
        return
    if before is not None:
        ousted: WeakSet[_Thread] = module.__dict__.setdefault("_ousted", WeakSet())
        ousted.discard(thread)
        ousted.add(before)
    module.__dict__["_mover"] = thread


def go_on(module: Any) -> None:
    """Make this thread the one that moves the remembered state of a module.

    Raises:
        RuntimeError: another thread has moved it since the last call of this thread.

    >>> import spikeloom as snn
    >>> go_on(snn.Leaky(0.9))
    """
    if module._mover is _here.thread:
        return
    ousted = module._ousted is not None and _here.thread in module._ousted
    if ousted or module._mover is _MIXED:
        raise _mixture(module)
    take(module)


def stayed(module: Any) -> None:
    """Check that no other thread moved the state of a module during a call of this thread.

    Raises:
        RuntimeError: one did.

    >>> import spikeloom as snn
    >>> lif = snn.Leaky(0.9); go_on(lif); stayed(lif)
    """
    if module._mover is not _here.thread:
        module.__dict__["_mover"] = _MIXED
        raise _mixture(module)


def _mixture(module: Any) -> RuntimeError:
    return RuntimeError(
        f"another thread has called this {type(module).__name__} since the last call of this "
        "thread, and its state is that of one run; give each thread a network of its own: "
        "copy.deepcopy(net); to take a run over from another thread write snn.detach(net), to "
        "begin one snn.reset(net)"
    )
