"""Monitors: record inputs, outputs, attributes and gradients of chosen modules through hooks.

A monitor records until its ``with`` block ends, until ``remove_hooks``, or until it is garbage
collected. It records the network that it received, and no copy of it. Records keep their autograd
graph; pass ``function_on_output=torch.Tensor.detach`` or the like to drop it. Under `snn.run` and
`snn.layerwise` monitors record the same calls as in the plain loop, and layers still run all steps
at once.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from ..core.numbers import flag
from .probe_base import BaseMonitor, Kinds, _unchanged, function_of, unpack_len1_tuple

__all__ = [
    "AttributeMonitor",
    "BaseMonitor",
    "GradInputMonitor",
    "GradOutputMonitor",
    "InputMonitor",
    "OutputMonitor",
    "unpack_len1_tuple",
]


class OutputMonitor(BaseMonitor):
    """Records the output of modules at each call.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_output: maps an output to its record. Default: the output itself.

    Raises:
        TypeError: ``net`` is not a module, ``instance`` not a class, or the function not callable.
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> with OutputMonitor(net, torch.nn.Linear, lambda y: y.shape) as monitor:
    ...     _ = net(torch.zeros(4, 2))
    >>> monitor.records
    [torch.Size([4, 3])]
    """

    def __init__(
        self,
        net: nn.Module,
        instance: Kinds = None,
        function_on_output: Callable[[Any], Any] = _unchanged,
    ) -> None:
        super().__init__()
        self.function_on_output = function_of("function_on_output", function_on_output)
        self._watch(
            net,
            instance,
            nn.Module.register_forward_hook,
            lambda own, m, x, y: own.function_on_output(unpack_len1_tuple(y)),
        )


class InputMonitor(BaseMonitor):
    """Records the positional input of modules at each call; several arguments come as a tuple.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_input: maps an input to its record. Default: the input itself.

    Raises:
        TypeError: ``net`` is not a module, ``instance`` not a class, or the function not callable.
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> with InputMonitor(net, torch.nn.ReLU, lambda x: x.shape) as monitor:
    ...     _ = net(torch.zeros(4, 2))
    >>> monitor.records
    [torch.Size([4, 3])]
    """

    def __init__(
        self,
        net: nn.Module,
        instance: Kinds = None,
        function_on_input: Callable[[Any], Any] = _unchanged,
    ) -> None:
        super().__init__()
        self.function_on_input = function_of("function_on_input", function_on_input)
        self._watch(
            net,
            instance,
            nn.Module.register_forward_hook,
            lambda own, m, x, y: own.function_on_input(unpack_len1_tuple(x)),
        )


class AttributeMonitor(BaseMonitor):
    """Records an attribute of modules, such as ``mem``, before or after each call.

    Args:
        attribute_name: name of the attribute.
        pre_forward: whether to record before the call instead of after it.
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_attribute: maps the attribute to its record. Default: the attribute itself.

    Raises:
        TypeError: ``net`` is not a module, ``instance`` not a class, or the function not callable.
        ValueError: the network has no such module.

    In snnTorch ``pre_forward=True`` fails at the first call, and ``instance=None`` at construction.

    >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(1))
    >>> monitor = AttributeMonitor("num_batches_tracked", True, net, torch.nn.BatchNorm1d, int)
    >>> with monitor:
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
        if not isinstance(attribute_name, str):
            raise TypeError(
                f"attribute_name must be a text, got {attribute_name!r}; write "
                "AttributeMonitor('mem', ...)"
            )
        flag("pre_forward", pre_forward)
        self.attribute_name = attribute_name
        self.function_on_attribute = function_of("function_on_attribute", function_on_attribute)
        register = (
            nn.Module.register_forward_pre_hook if pre_forward else nn.Module.register_forward_hook
        )
        self._watch(
            net,
            instance,
            register,
            lambda own, m, *_: own.function_on_attribute(getattr(m, own.attribute_name)),
        )


class GradInputMonitor(BaseMonitor):
    """Records the gradient with respect to the input of modules, in the order of the backward pass.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_grad_input: maps a gradient to its record. Default: the gradient itself.

    Raises:
        TypeError: ``net`` is not a module, ``instance`` not a class, or the function not callable.
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> with GradInputMonitor(net, torch.nn.Linear) as monitor:
    ...     net(torch.zeros(4, 2, requires_grad=True)).sum().backward()
    >>> monitor[0].shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        net: nn.Module,
        instance: Kinds = None,
        function_on_grad_input: Callable[[Any], Any] = _unchanged,
    ) -> None:
        super().__init__()
        self.function_on_grad_input = function_of("function_on_grad_input", function_on_grad_input)
        self._watch(
            net,
            instance,
            nn.Module.register_full_backward_hook,
            lambda own, m, gi, go: own.function_on_grad_input(unpack_len1_tuple(gi)),
        )


class GradOutputMonitor(BaseMonitor):
    """Records the gradient with respect to the output of modules, in backward order.

    Args:
        net: network whose modules are monitored.
        instance: class or classes of the modules. Default: the class of ``net`` itself.
        function_on_grad_output: maps a gradient to its record. Default: the gradient itself.

    Raises:
        TypeError: ``net`` is not a module, ``instance`` not a class, or the function not callable.
        ValueError: the network has no such module.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> with GradOutputMonitor(net, torch.nn.Linear) as monitor:
    ...     net(torch.zeros(4, 2, requires_grad=True)).sum().backward()
    >>> monitor[0].shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        net: nn.Module,
        instance: Kinds = None,
        function_on_grad_output: Callable[[Any], Any] = _unchanged,
    ) -> None:
        super().__init__()
        self.function_on_grad_output = function_of(
            "function_on_grad_output", function_on_grad_output
        )
        self._watch(
            net,
            instance,
            nn.Module.register_full_backward_hook,
            lambda own, m, gi, go: own.function_on_grad_output(unpack_len1_tuple(go)),
        )
