"""Monitors: record what flows through chosen modules of a network, through hooks.

A monitor records as long as its hooks hang on the network: use it in a ``with`` block, or call ``remove_hooks``.
It stores what the hook sees, with its graph; pass ``function_on_output=torch.Tensor.detach`` or the like to keep less.
`snn.run` steps or scans neurons itself; monitors see calls of modules, as in a step loop.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = [
    "AttributeMonitor",
    "BaseMonitor",
    "GradInputMonitor",
    "GradOutputMonitor",
    "InputMonitor",
    "OutputMonitor",
    "unpack_len1_tuple",
]

Kinds = type | tuple[type, ...] | None


def unpack_len1_tuple(x: Any) -> Any:
    """The element of a tuple of length 1; anything else unchanged.

    >>> unpack_len1_tuple((3,)), unpack_len1_tuple((1, 2))
    (3, (1, 2))
    """
    return x[0] if isinstance(x, tuple) and len(x) == 1 else x


def _unchanged(x: Any) -> Any:
    return x


class BaseMonitor:
    """What the monitors share: records in the order of calls, by number or by the name of the module.

    ``monitor[3]`` is the fourth record, ``monitor["fc1"]`` the list of the records of one module, "" being the
    network itself. ``records`` holds all of them, ``monitored_layers`` the names.

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

    def __enter__(self) -> "BaseMonitor":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove_hooks()

    def __getitem__(self, i: int | str) -> Any:
        if isinstance(i, int):
            return self.records[i]
        if not isinstance(i, str):
            raise ValueError(f"a monitor is indexed by number or name, got {i!r}; write monitor[0] or monitor['layer']")
        if i not in self.name_records_index:
            names = ", ".join(map(repr, self.monitored_layers))
            raise KeyError(f"monitor has no layer {i!r}; it monitors {names}")
        return [self.records[index] for index in self.name_records_index[i]]

    def clear_recorded_data(self) -> None:
        """Forget all records; recording goes on.

        >>> OutputMonitor(torch.nn.ReLU()).clear_recorded_data()
        """
        self.records.clear()
        for indices in self.name_records_index.values():
            indices.clear()

    def enable(self) -> None:
        """Record from now on, the state after construction.

        >>> OutputMonitor(torch.nn.ReLU()).enable()
        """
        self._enable = True

    def disable(self) -> None:
        """Do not record until `enable`.

        >>> OutputMonitor(torch.nn.ReLU()).disable()
        """
        self._enable = False

    def is_enable(self) -> bool:
        """Whether calls are recorded.

        >>> OutputMonitor(torch.nn.ReLU()).is_enable()
        True
        """
        return self._enable

    def remove_hooks(self) -> None:
        """End the monitoring; the records stay.

        >>> OutputMonitor(torch.nn.ReLU()).remove_hooks()
        """
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()

    def _watch(self, net: nn.Module, instance: Kinds, register: Callable, seen: Callable[..., Any]) -> None:
        """Hang a hook on every module of the given kinds; ``seen`` makes the record of what torch hands a hook."""
        self._seen = seen
        kinds = type(net) if instance is None else instance
        for name, module in net.named_modules():
            if isinstance(module, kinds):
                self.monitored_layers.append(name)
                self.name_records_index[name] = []
                self.hooks.append(register(module, self.create_hook(name)))
        if not self.hooks:
            there = ", ".join(sorted({type(module).__name__ for module in net.modules()}))
            raise ValueError(f"instance must name a class of the network's modules, got {kinds}; write one of {there}")

    def create_hook(self, name: str) -> Callable[..., None]:
        """The hook that records under ``name``; the monitor hangs one on each module itself.

        >>> monitor = OutputMonitor(torch.nn.ReLU())
        >>> monitor.create_hook("")(None, None, 3)
        >>> monitor[""]
        [3]
        """

        def hook(*call: Any) -> None:
            if self._enable:
                record = self._seen(*call)
                self.name_records_index[name].append(len(self.records))
                self.records.append(record)

        return hook


class OutputMonitor(BaseMonitor):
    """Records the output of modules at each call.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_output: what is recorded of an output.

    Raises:
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> with OutputMonitor(net, torch.nn.Linear, lambda y: y.shape) as monitor:
    ...     _ = net(torch.zeros(4, 2))
    >>> monitor.records
    [torch.Size([4, 3])]
    """

    def __init__(
        self, net: nn.Module, instance: Kinds = None, function_on_output: Callable[[Any], Any] = _unchanged
    ) -> None:
        super().__init__()
        self.function_on_output = function_on_output
        register = nn.Module.register_forward_hook
        self._watch(net, instance, register, lambda m, x, y: self.function_on_output(unpack_len1_tuple(y)))


class InputMonitor(BaseMonitor):
    """Records the positional input of modules at each call; several arguments come as a tuple.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_input: what is recorded of an input.

    Raises:
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> with InputMonitor(net, torch.nn.ReLU, lambda x: x.shape) as monitor:
    ...     _ = net(torch.zeros(4, 2))
    >>> monitor.records
    [torch.Size([4, 3])]
    """

    def __init__(
        self, net: nn.Module, instance: Kinds = None, function_on_input: Callable[[Any], Any] = _unchanged
    ) -> None:
        super().__init__()
        self.function_on_input = function_on_input
        register = nn.Module.register_forward_hook
        self._watch(net, instance, register, lambda m, x, y: self.function_on_input(unpack_len1_tuple(x)))


class AttributeMonitor(BaseMonitor):
    """Records an attribute of modules, such as ``mem``, before or after each call.

    Args:
        attribute_name: name of the attribute.
        pre_forward: before the call instead of after it.
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_attribute: what is recorded of it.

    Raises:
        ValueError: the network has no such module.

    In snnTorch ``pre_forward=True`` fails at the first call, and ``instance=None`` at construction.

    >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(1))
    >>> with AttributeMonitor("num_batches_tracked", True, net, torch.nn.BatchNorm1d, int) as monitor:
    ...     _ = net(torch.zeros(4, 1)), net(torch.zeros(4, 1))
    >>> monitor.records
    [0, 1]
    """

    def __init__(
        self,
        attribute_name: str,
        pre_forward: bool,
        net: nn.Module,
        instance: Kinds = None,
        function_on_attribute: Callable[[Any], Any] = _unchanged,
    ) -> None:
        super().__init__()
        self.attribute_name = attribute_name
        self.function_on_attribute = function_on_attribute
        register = nn.Module.register_forward_pre_hook if pre_forward else nn.Module.register_forward_hook
        self._watch(net, instance, register, lambda m, *_: self.function_on_attribute(getattr(m, attribute_name)))


class GradInputMonitor(BaseMonitor):
    """Records the gradient of the loss with respect to the input of modules, in the order of the backward pass.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_grad_input: what is recorded of it.

    Raises:
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> with GradInputMonitor(net, torch.nn.Linear) as monitor:
    ...     net(torch.zeros(4, 2, requires_grad=True)).sum().backward()
    >>> monitor[0].shape
    torch.Size([4, 2])
    """

    def __init__(
        self, net: nn.Module, instance: Kinds = None, function_on_grad_input: Callable[[Any], Any] = _unchanged
    ) -> None:
        super().__init__()
        self.function_on_grad_input = function_on_grad_input
        register = nn.Module.register_full_backward_hook
        self._watch(net, instance, register, lambda m, gi, go: self.function_on_grad_input(unpack_len1_tuple(gi)))


class GradOutputMonitor(BaseMonitor):
    """Records the gradient of the loss with respect to the output of modules, in the order of the backward pass.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_grad_output: what is recorded of it.

    Raises:
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> with GradOutputMonitor(net, torch.nn.Linear) as monitor:
    ...     net(torch.zeros(4, 2, requires_grad=True)).sum().backward()
    >>> monitor[0].shape
    torch.Size([4, 3])
    """

    def __init__(
        self, net: nn.Module, instance: Kinds = None, function_on_grad_output: Callable[[Any], Any] = _unchanged
    ) -> None:
        super().__init__()
        self.function_on_grad_output = function_on_grad_output
        register = nn.Module.register_full_backward_hook
        self._watch(net, instance, register, lambda m, gi, go: self.function_on_grad_output(unpack_len1_tuple(go)))
