"""The graph of an ordinary network, and helpers of the passes over it.

The network is copied, set to evaluation mode and traced with ``torch.fx``; the user's network does
not change. A pass is a function that modifies a ``GraphModule``, with its own tests.
"""

import copy
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core.numbers import network
from ..core.stateful import Stateful
from .activations import SITES

__all__ = ["called", "place", "put", "replace", "shaped", "traced"]


class _LeafTracer(fx.Tracer):
    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*SITES, Stateful)) or super().is_leaf_module(m, module_qualified_name)


def traced(ann: nn.Module) -> fx.GraphModule:
    """The graph of a copy of ``ann`` in evaluation mode.

    Raises:
        TypeError: ``ann`` is not a module.
        ValueError: it cannot be traced (the message names the line), or it has spiking neurons.

    >>> [node.op for node in traced(nn.Linear(2, 3)).graph.nodes]
    ['placeholder', 'call_module', 'output']
    """
    network(ann, "the network")
    spiking = [path for path, module in ann.named_modules() if isinstance(module, Stateful)]
    if spiking:
        raise ValueError(
            f"the network has spiking neurons already ({spiking[0]!r}); convert the network with "
            "ReLUs"
        )
    ann = copy.deepcopy(ann).eval()
    if type(ann).__module__.startswith("torch.nn") or isinstance(ann, SITES):
        ann = ann if isinstance(ann, nn.Sequential) else nn.Sequential(ann)
    tracer = _LeafTracer()
    try:
        graph = tracer.trace(ann)
    except Exception as error:  # forward may raise anything for a proxy of its input
        raise ValueError(
            f"{type(ann).__name__} cannot be traced: {(str(error).splitlines() or [''])[0]} "
            f"({_line(error)}); the operations of forward may depend on shapes, not on values: "
            "write torch.where(...), or move the choice out of it"
        ) from error
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for extra in inputs[1:]:
        if extra.users or not extra.args:
            raise ValueError(
                f"forward takes {extra.target!r} besides its input; wrap the network in one that "
                "does not"
            )
        graph.erase_node(extra)
    return fx.GraphModule(tracer.root, graph, type(ann).__name__)


def _line(error: BaseException) -> str:
    """The user's line at which tracing failed."""
    torch_folder = str(Path(torch.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    last = [f for f in frames if not f.filename.startswith(torch_folder)][-1]
    return f"{last.filename}:{last.lineno}: {last.line}"


def called(gm: fx.GraphModule, *kinds: type[nn.Module]) -> Iterator[tuple[fx.Node, Any]]:
    """The calls of modules of the given classes, in order, each with its module."""
    for node in list(gm.graph.nodes):
        if node.op == "call_module":
            module = gm.get_submodule(str(node.target))
            if isinstance(module, kinds):
                yield node, module


def place(gm: fx.GraphModule, node: fx.Node) -> str:
    """Name and position of an operation, for messages.

    >>> gm = traced(nn.Sequential(nn.Linear(2, 3)))
    >>> place(gm, list(gm.graph.nodes)[1])
    "Linear '0'"
    """
    if node.op == "call_module":
        return f"{type(gm.get_submodule(str(node.target))).__name__} {str(node.target)!r}"
    stack = list(node.meta.get("nn_module_stack", {}).keys())
    inside = f" in {stack[-1]!r}" if stack and stack[-1] else ""
    line = _users_line(node.stack_trace or "")
    return f"{name_of(node)} (node {node.name!r}){inside}{line}"


def name_of(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    return getattr(node.target, "__name__", str(node.target))


def _users_line(trace: str) -> str:
    """The innermost line of a stack in the user's code, in brackets; empty if there is none."""
    libraries = (str(Path(__file__).parent.parent), str(Path(torch.__file__).parent))
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File")]
    users = [line for line in lines if not any(folder in line for folder in libraries)]
    return f" ({users[-1].removeprefix('File ')})" if users else ""


def put(gm: fx.GraphModule, path: str, module: nn.Module) -> str:
    """Adds a module at ``path``, or at the next free path like it, and returns the path."""
    module.training = False
    parent, _, name = path.rpartition(".")
    holder = gm.get_submodule(parent)
    fresh = name
    n = 2
    while hasattr(holder, fresh):
        fresh = f"{name}_{n}"
        n += 1
    path = f"{parent}.{fresh}" if parent else fresh
    gm.add_submodule(path, module)
    return path


def replace(
    gm: fx.GraphModule,
    node: fx.Node,
    module: nn.Module,
    source: fx.Node | None = None,
    path: str = "",
) -> fx.Node:
    """Replaces an operation by the call of a new module.

    Args:
        gm: the graph.
        node: the operation.
        module: the new module.
        source: its input. Default: the first argument of the operation.
        path: path of the module, or the beginning of it. Default: that of the replaced module.
    """
    source = node.all_input_nodes[0] if source is None else source
    path = path or _path(gm, node)
    with gm.graph.inserting_before(node):
        new = gm.graph.call_module(put(gm, path, module), (source,))
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    gm.graph.erase_node(node)
    return new


def _path(gm: fx.GraphModule, node: fx.Node) -> str:
    """Path of the module that replaces an operation; it is freed unless other nodes call it."""
    if node.op != "call_module":
        return node.name
    path = str(node.target)
    calls = [n for n in gm.graph.nodes if n.op == "call_module" and n.target == path]
    if len(calls) == 1:
        gm.delete_submodule(path)
    return path


class _Shapes(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["shape"] = tuple(value.shape) if isinstance(value, Tensor) else None
        return value


@torch.no_grad()
def shaped(gm: fx.GraphModule, sample: Tensor) -> fx.GraphModule:
    """Stores the shape of every value for a sample [B, ...] in ``meta["shape"]`` of its node.

    >>> gm = shaped(traced(nn.Linear(2, 3)), torch.zeros(4, 2))
    >>> [node.meta["shape"] for node in gm.graph.nodes]
    [(4, 2), (4, 3), (4, 3)]
    """
    try:
        _Shapes(gm).run(sample)
    except RuntimeError as error:
        raise ValueError(
            f"the network does not take samples of shape {list(sample.shape[1:])}: "
            f"{str(error).splitlines()[0]}; pass samples [N, ...] as the network takes them"
        ) from error
    return gm
