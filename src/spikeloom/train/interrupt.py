"""Ctrl-C and SIGTERM as a request to stop at the next batch boundary."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "StopRequest", "terminable"]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM between two batches; the message says how to go on.

    >>> issubclass(Interrupted, Exception)
    False
    """


def _of_a_child(process: int, number: int) -> bool:
    """End a forked child of ``process``, such as a worker of a loader, by SIGTERM."""
    if os.getpid() == process or number != signal.SIGTERM:
        return False
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return True


class _Interrupter:
    """A handler that raises KeyboardInterrupt and records it, since finalisers swallow errors."""

    def __init__(self) -> None:
        self.called, self._process = False, os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _of_a_child(self._process, number):
            return
        self.called = True
        raise KeyboardInterrupt("terminated" if number == signal.SIGTERM else "interrupted")


@contextmanager
def terminable() -> Iterator[None]:
    """Inside the block SIGTERM raises KeyboardInterrupt, so that it ends a command as Ctrl-C does.

    A signal that is lost, because it came while Python called a finaliser, counts for the next
    `StopRequest`. Where signals cannot be caught (another thread than the main one), or they have a
    handler, nothing changes.

    >>> try:
    ...     with terminable():
    ...         signal.raise_signal(signal.SIGTERM)
    ... except KeyboardInterrupt as error:
    ...     print(error)
    terminated
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    main = threading.current_thread() is threading.main_thread()
    ours = {
        number: old for number, old in usual.items() if main and signal.getsignal(number) is old
    }
    handler = _Interrupter()
    for number in ours:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in ours.items():
            signal.signal(number, old)


class StopRequest:
    """Inside the block the first Ctrl-C or SIGTERM sets `made`; the second one interrupts.

    A handler of SIGTERM that the caller has installed is left alone. Where signals cannot be caught
    (another thread than the main one) nothing changes.

    >>> with StopRequest() as stop:
    ...     signal.raise_signal(signal.SIGINT)
    ...     stop.made
    True
    """

    def __init__(self) -> None:
        self.made = False
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._take(signal.SIGINT)
            handler = signal.getsignal(signal.SIGTERM)
            if handler is signal.SIG_DFL or isinstance(handler, _Interrupter):
                self._take(signal.SIGTERM)
            self.made |= any(
                isinstance(old, _Interrupter) and old.called for old in self._before.values()
            )
        return self

    def _take(self, number: int) -> None:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        self._before[number] = (
            signal.signal(number, self._request) or usual
        )  # None: set outside of Python

    def _request(self, number: int, frame: FrameType | None) -> None:
        if _of_a_child(self._process, number):
            return
        self.made = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def __exit__(self, *error: object) -> None:
        self._restore()
