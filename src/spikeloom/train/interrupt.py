"""Ctrl-C as a request to stop at the next batch boundary."""

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "StopRequest"]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C between two batches; the message says how to go on.

    >>> issubclass(Interrupted, Exception)
    False
    """


class StopRequest:
    """Inside the block the first Ctrl-C sets `made`; the second one interrupts at once, as outside.

    Where signals cannot be caught (another thread than the main one) nothing changes.

    >>> with StopRequest() as stop:
    ...     signal.raise_signal(signal.SIGINT)
    ...     stop.made
    True
    """

    def __init__(self) -> None:
        self.made = False
        self._before: Any = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._request) or signal.default_int_handler
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.made = True
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def __exit__(self, *error: object) -> None:
        self._restore()
