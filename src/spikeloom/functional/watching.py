"""The hooks of monitors, which keep neither the monitor nor the network alive.

A hook refers to its monitor and its module weakly. It records nothing for a copy of the module, and
a monitor that is garbage collected removes its hooks from the network.
"""

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["Hook", "remove"]

TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


class Hook:
    """A hook that forwards the calls of one module.

    Copies and pickles of a monitored network hold a `Detached` in its place.

    Args:
        module: the only module whose calls count.
        record: receives the arguments of the hook.

    >>> net = nn.ReLU()
    >>> calls = []
    >>> Hook(net, lambda *call: calls.append(call))(net, 1, 2)
    >>> len(calls)
    1
    """

    def __init__(self, module: nn.Module, record: Callable[..., None]) -> None:
        self.module = weakref.ref(module)
        self.record = record

    def __call__(self, *call: Any) -> None:
        if call[0] is self.module():
            self.record(*call)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Detached":
        return Detached()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Detached, ()


class Detached:
    """Replaces a hook in a copy of a network, and removes itself at the first call."""

    def __call__(self, module: nn.Module, *call: Any) -> None:
        for name in TABLES:
            hooks = vars(module).get(name) or {}
            for key in [key for key, hook in hooks.items() if isinstance(hook, Detached)]:
                del hooks[key]


def remove(handles: list[Any]) -> None:
    """Removes hooks from their modules.

    >>> net = nn.ReLU()
    >>> handles = [net.register_forward_hook(print)]
    >>> remove(handles)
    >>> len(net._forward_hooks), handles
    (0, [])
    """
    for handle in handles:
        handle.remove()
    handles.clear()
