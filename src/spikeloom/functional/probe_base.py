"""The base of the monitors: their records and their hooks."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from .watching import Hook, remove

__all__ = ["BaseMonitor", "Kinds", "function_of", "unpack_len1_tuple"]

Kinds = type | tuple[type, ...] | None


def unpack_len1_tuple(x: Any) -> Any:
    """Returns the element of a tuple of length 1, and anything else unchanged.

    >>> unpack_len1_tuple((3,)), unpack_len1_tuple((1, 2))
    (3, (1, 2))
    """
    return x[0] if isinstance(x, tuple) and len(x) == 1 else x


def _unchanged(x: Any) -> Any:
    return x


class BaseMonitor:
    """Base of the monitors: records in the order of calls, by number or by name of the module.

    ``monitor[3]`` is the fourth record, ``monitor["fc1"]`` the list of the records of one module,
    "" being the network itself. ``records`` holds all records, ``monitored_layers`` the names.

    >>> from spikeloom.functional import OutputMonitor
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> with OutputMonitor(net, torch.nn.Linear) as monitor:
    ...     _ = net(torch.zeros(1, 2))
    >>> monitor.monitored_layers, monitor["0"][0].shape
    (['0'], torch.Size([1, 3]))
    """

    def __init__(self) -> None:
        self.hooks: list[Any] = []
        self.monitored_layers: list[str] = []
        self.records: list[Any] = []
        self.name_records_index: dict[str, list[int]] = {}
        self._enable = True
        self._seen: Callable[..., Any] = _unchanged
        self._watched: dict[str, weakref.ref[nn.Module]] = {}
        self._register: Callable[..., Any] = nn.Module.register_forward_hook
        weakref.finalize(self, remove, self.hooks)

    def __deepcopy__(self, memo: dict[int, Any]) -> "BaseMonitor":
        """Copies the records; the copy monitors the modules that are copied together with it."""
        new = object.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(vars(self))
        new.hooks = []
        new._watched = {}
        new.records = list(self.records)
        new.monitored_layers = list(self.monitored_layers)
        new.name_records_index = {
            name: list(index) for name, index in self.name_records_index.items()
        }
        weakref.finalize(new, remove, new.hooks)
        for name, known in self._watched.items():
            module = memo.get(id(known()))
            if isinstance(module, nn.Module):
                new._hang(name, module)
        return new

    def __enter__(self) -> "BaseMonitor":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove_hooks()

    def __getitem__(self, i: int | str) -> Any:
        if isinstance(i, int):
            return self.records[i]
        if not isinstance(i, str):
            raise ValueError(
                f"a monitor is indexed by number or name, got {i!r}; write monitor[0] or "
                "monitor['layer']"
            )
        if i not in self.name_records_index:
            names = ", ".join(map(repr, self.monitored_layers))
            raise KeyError(f"monitor has no layer {i!r}; it monitors {names}")
        return [self.records[index] for index in self.name_records_index[i]]

    def clear_recorded_data(self) -> None:
        """Drops all records; recording continues.

        >>> BaseMonitor().clear_recorded_data()
        """
        self.records.clear()
        for indices in self.name_records_index.values():
            indices.clear()

    def enable(self) -> None:
        """Starts recording, the state after construction.

        >>> BaseMonitor().enable()
        """
        self._enable = True

    def disable(self) -> None:
        """Stops recording until `enable`.

        >>> BaseMonitor().disable()
        """
        self._enable = False

    def is_enable(self) -> bool:
        """Whether calls are recorded.

        >>> BaseMonitor().is_enable()
        True
        """
        return self._enable

    def remove_hooks(self) -> None:
        """Removes the hooks; the records stay.

        >>> BaseMonitor().remove_hooks()
        """
        remove(self.hooks)

    def _watch(
        self, net: nn.Module, instance: Kinds, register: Callable, seen: Callable[..., Any]
    ) -> None:
        """Registers a hook on every module of the given classes.

        ``seen`` maps the monitor and the arguments of the hook to a record.
        """
        if not isinstance(net, nn.Module):
            raise TypeError(
                f"net must be a torch.nn.Module, got {net!r}; write {type(self).__name__}(net, "
                "nn.Linear), or AttributeMonitor('mem', False, net)"
            )
        self._seen = seen
        self._register = register
        kinds = _kinds(net, instance)
        for name, module in net.named_modules():
            if isinstance(module, kinds):
                self.monitored_layers.append(name)
                self.name_records_index[name] = []
                self._hang(name, module)
        if not self.hooks:
            there = ", ".join(sorted({type(module).__name__ for module in net.modules()}))
            raise ValueError(
                f"instance must name a class of the network's modules, got {kinds}; write one of "
                f"{there}"
            )

    def _hang(self, name: str, module: nn.Module) -> None:
        self._watched[name] = weakref.ref(module)
        self.hooks.append(self._register(module, Hook(module, self.create_hook(name))))

    def create_hook(self, name: str) -> Callable[..., None]:
        """Returns the hook that records under ``name``; the constructor registers these itself.

        >>> from spikeloom.functional import OutputMonitor
        >>> monitor = OutputMonitor(torch.nn.ReLU())
        >>> monitor.create_hook("")(None, None, 3)
        >>> monitor[""]
        [3]
        """

        monitor = weakref.ref(self)

        def hook(*call: Any) -> None:
            own = monitor()
            if own is not None and own._enable:
                record = own._seen(own, *call)
                own.name_records_index[name].append(len(own.records))
                own.records.append(record)

        return hook


def _kinds(net: nn.Module, instance: Any) -> Any:
    """The classes of the modules to monitor."""
    if instance is None:
        return type(net)
    for kind in instance if isinstance(instance, tuple) else (instance,):
        if not isinstance(kind, type):
            raise TypeError(
                f"instance must be a class or a tuple of classes, got {instance!r}; write "
                "instance=nn.Linear"
            )
    return instance


def function_of(name: str, function: Any) -> Callable[[Any], Any]:
    if not callable(function):
        raise TypeError(
            f"{name} must be callable, got {function!r}; write {name}=torch.Tensor.detach"
        )
    return function
