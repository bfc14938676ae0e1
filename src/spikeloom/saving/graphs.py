"""Describes a converted network as JSON: the nodes of its graph, and the layers that they call.

A function or a method of a node is a key of a table. Values of a node are numbers, texts, types of
numbers, and other nodes.
"""

import operator
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..conversion.activations import QCFS
from ..conversion.check import OPERATIONS
from ..conversion.converted import Converted
from ..conversion.twin import Settings
from .values import decoded, encoded

__all__ = ["build_converted", "describe_converted"]

Describe = Callable[[nn.Module, str], dict[str, Any]]
Build = Callable[[Any, int], nn.Module]
READ = ("shape", "ndim", "dtype", "device")  # what a node may read of a tensor by getattr
METHODS = frozenset(name for name in OPERATIONS if isinstance(name, str))


def _name(function: Any) -> str:
    name = function.__name__
    for home, module in (("operator", operator), ("torch", torch), ("functional", F)):
        if getattr(module, name, None) is function:
            return f"{home}.{name}"
    return name


FUNCTIONS = {_name(function): function for function in OPERATIONS if callable(function)}


def describe_converted(net: Converted, path: str, describe: Describe) -> dict[str, Any]:
    """Describes a converted network.

    Args:
        net: the network.
        path: its path in the network that is saved.
        describe: describes a layer with its path.

    Raises:
        TypeError: an operation or a value cannot be described; the message names it.

    >>> import spikeloom as snn
    >>> ann = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> net = snn.conversion.convert(ann, torch.rand(9, 2))
    >>> describe_converted(net, "", lambda module, path: {})["graph"]["nodes"][1]["target"]
    '0'
    """
    numbers = {node: number for number, node in enumerate(net.net.graph.nodes)}
    nodes = [_node(node, numbers) for node in net.net.graph.nodes]
    leaves, values = {}, {}
    for node in nodes:
        target = node["target"]
        if node["op"] == "call_module":
            leaves[target] = describe(net.net.get_submodule(target), f"{path}.net.{target}")
        elif node["op"] == "get_attr":
            value = operator.attrgetter(target)(net.net)
            learns = isinstance(value, nn.Parameter)
            values[target] = {"value": encoded(value.detach()), "learns": learns}
    return {
        "kind": "spikeloom.Converted",
        "graph": {"nodes": nodes, "layers": leaves, "values": values},
        "stands_for": {
            name: _stand_in(module, f"{path}.stands_for.{name}", describe)
            for name, module in net._stands_for.items()
        },
        "settings": {name: encoded(value) for name, value in asdict(net.settings).items()},
        "head": None if net.head is None else describe(net.head, f"{path}.head"),
    }


def _stand_in(module: nn.Module, path: str, describe: Describe) -> dict[str, Any]:
    """A layer of the ordinary network, whose weights are not in the ``state_dict``."""
    found = describe(module, path)
    if isinstance(module, QCFS):
        found["options"]["threshold"] = float(module.threshold.detach())
    elif any(True for _ in module.parameters()):
        raise TypeError(f"layer {path!r} has weights that are not saved")
    return found


def _node(node: fx.Node, numbers: dict[fx.Node, int]) -> dict[str, Any]:
    target = node.target
    if node.op == "call_function":
        target = _name(target)
    _check(node.op, target, node.args)
    return {
        "op": node.op,
        "name": node.name,
        "target": target,
        "args": _argument(node.args, numbers),
        "kwargs": {name: _argument(value, numbers) for name, value in node.kwargs.items()},
        "shape": encoded(node.meta.get("shape")),
    }


def _check(op: str, target: Any, args: Any) -> None:
    """Refuses operations that no converted network has."""
    known = {"call_function": FUNCTIONS, "call_method": METHODS}.get(op)
    reads = target == "getattr" and (len(args) != 2 or args[1] not in READ)
    if (known is not None and target not in known) or reads:
        raise TypeError(f"the operation {target!r} of a graph is not a known one")
    if op not in ("placeholder", "call_module", "get_attr", "output", *_CALLS):
        raise TypeError(f"a graph cannot have the operation {op!r}")


_CALLS = ("call_function", "call_method")


def _argument(value: Any, numbers: dict[fx.Node, int]) -> Any:
    if isinstance(value, fx.Node):
        return {"node": numbers[value]}
    if isinstance(value, slice):
        return {"slice": [_argument(v, numbers) for v in (value.start, value.stop, value.step)]}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_argument(each, numbers) for each in value]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Tensor):
        raise TypeError("a node of a graph has a tensor as an argument")
    return encoded(value)


def build_converted(described: dict[str, Any], build: Build, depth: int) -> Converted:
    """Builds the network of a description; its weights are loaded later.

    Args:
        described: by `describe_converted`.
        build: builds a layer from its description.
        depth: of nesting, for ``build``.

    Raises:
        TypeError, ValueError, KeyError: the description does not come from `describe_converted`.

    >>> build_converted({}, lambda described, depth: nn.Identity(), 0)
    Traceback (most recent call last):
    KeyError: 'graph'
    """
    graph = described["graph"]
    root: dict[str, Any] = {
        _path(name): build(each, depth + 1) for name, each in graph["layers"].items()
    }
    for name, each in graph["values"].items():
        value = decoded(each["value"])
        if not isinstance(value, Tensor):
            raise TypeError(f"the value {name!r} of a graph is no tensor")
        root[_path(name)] = nn.Parameter(value) if each["learns"] is True else value
    head = described["head"]
    return Converted(
        fx.GraphModule(root, _graph(graph["nodes"], root)),
        {name: build(each, depth + 1) for name, each in described["stands_for"].items()},
        Settings(**{name: decoded(value) for name, value in described["settings"].items()}),
        head=None if head is None else build(head, depth + 1),
    )


def _path(name: str) -> str:
    parts = name.split(".")
    plain = all(part.isidentifier() or part.isdigit() for part in parts)
    if not plain or hasattr(fx.GraphModule, parts[0]):
        raise ValueError(f"{name!r} is no path of a layer")
    return name


def _graph(described: list[Any], root: dict[str, Any]) -> fx.Graph:
    graph, nodes = fx.Graph(), list[fx.Node]()
    for each in described:
        op, target, name = each["op"], each["target"], each["name"]
        args = _value(each["args"], nodes)
        _check(op, target, args)
        known = target in root if op in ("call_module", "get_attr") else True
        if not str(name).isidentifier() or not isinstance(target, str) or not known:
            raise ValueError(f"{target!r} of {name!r} is no node of a graph")
        if op in ("placeholder", "output") and not target.isidentifier():
            raise ValueError(f"{target!r} is no name of a node")
        kwargs = {str(key): _value(value, nodes) for key, value in each["kwargs"].items()}
        if not all(key.isidentifier() for key in kwargs):
            raise ValueError(f"{name!r} has an argument that is no name")
        called: Any = FUNCTIONS[target] if op == "call_function" else target
        node = graph.create_node(op, called, tuple(args), kwargs, name=name)
        shape = decoded(each["shape"])
        node.meta = {} if shape is None else {"shape": shape}
        nodes.append(node)
    graph.lint()
    return graph


def _value(described: Any, nodes: list[fx.Node]) -> Any:
    keys = set(described) if isinstance(described, dict) else set()
    if keys == {"node"}:
        number = described["node"]
        if type(number) is not int or not 0 <= number < len(nodes):
            raise ValueError(f"{number!r} is no earlier node of the graph")
        return nodes[number]
    if keys == {"slice"} and len(described["slice"]) == 3:
        return slice(*(_value(each, nodes) for each in described["slice"]))
    if keys in ({"tuple"}, {"list"}):
        inside = [_value(each, nodes) for each in next(iter(described.values()))]
        return tuple(inside) if keys == {"tuple"} else inside
    if keys == {"dtype"}:
        dtype = getattr(torch, str(described["dtype"]), None)
        if isinstance(dtype, torch.dtype):
            return dtype
    return decoded(described)
