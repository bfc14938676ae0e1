"""The graph of an ordinary network, and what every pass over it needs: places, fresh modules,
shapes.

The network is copied, set to evaluation and traced with ``torch.fx``; the user's own is never
touched. A pass is a function that changes a ``GraphModule`` and is tested alone.
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


class _Tracer(fx.Tracer):
    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*SITES, Stateful)) or super().is_leaf_module(m, module_qualified_name)


def traced(ann: nn.Module) -> fx.GraphModule:
    """The graph of a copy of ``ann`` in evaluation mode.

    Raises:
        TypeError: ``ann`` is no module.
        ValueError: it cannot be traced (the message says where), or it has spiking neurons already.

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
    tracer = _Tracer()
    try:
        graph = tracer.trace(ann)
    except Exception as error:  # whatever forward does with a stand-in for its input is the reason
        raise ValueError(
            f"{type(ann).__name__} cannot be traced: {(str(error).splitlines() or [''])[0]} "
            f"({_line(error)}); what forward does may depend on shapes, not on values: write "
            "torch.where(...), or move the choice out of it"
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
    """The user's line at which tracing ended."""
    theirs = str(Path(torch.__file__).parent)
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(theirs)
    ]
    last = frames[-1]
    return f"{last.filename}:{last.lineno}: {last.line}"


def called(gm: fx.GraphModule, *kinds: type[nn.Module]) -> Iterator[tuple[fx.Node, Any]]:
    """The calls of modules of some kinds, in order, each with its module."""
    for node in list(gm.graph.nodes):
        if node.op == "call_module":
            module = gm.get_submodule(str(node.target))
            if isinstance(module, kinds):
                yield node, module


def place(gm: fx.GraphModule, node: fx.Node) -> str:
    """Where in the network an operation stands, for messages.

    >>> gm = traced(nn.Sequential(nn.Linear(2, 3)))
    >>> place(gm, list(gm.graph.nodes)[1])
    "Linear '0'"
    """
    if node.op == "call_module":
        return f"{type(gm.get_submodule(str(node.target))).__name__} {str(node.target)!r}"
    name = (
        node.target
        if isinstance(node.target, str)
        else getattr(node.target, "__name__", node.target)
    )
    stack = list(node.meta.get("nn_module_stack", {}).keys())
    inside = f" in {stack[-1]!r}" if stack and stack[-1] else ""
    line = _users_line(node.stack_trace or "")
    return f"{name} (node {node.name!r}){inside}{line}"


def _users_line(trace: str) -> str:
    """The innermost line of a stack that is neither torch's nor ours, in brackets; empty if there
    is none."""
    own = str(Path(__file__).parent.parent)
    theirs = str(Path(torch.__file__).parent)
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File")]
    users = [line for line in lines if own not in line and theirs not in line]
    return f" ({users[-1].removeprefix('File ')})" if users else ""


def put(gm: fx.GraphModule, path: str, module: nn.Module) -> str:
    """Place a module at ``path``, or at a free path like it, and return the path."""
    module.training = False
    parent, _, name = path.rpartition(".")
    holder = gm.get_submodule(parent) if parent else gm
    fresh, n = name, 2
    while hasattr(holder, fresh):
        fresh, n = f"{name}_{n}", n + 1
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
    """Let a module of its own stand for an operation; it reads ``source``, by default the
    operation's first argument.

    It goes to ``path``, or one like it; by default to that of the module that it replaces.
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
    """Where the module that stands for an operation goes; room is made there if nobody else calls
    it."""
    if node.op != "call_module":
        return node.name
    path = str(node.target)
    others = [
        n
        for n in gm.graph.nodes
        if n.op == "call_module" and n.target == node.target and n is not node
    ]
    parent, _, name = path.rpartition(".")
    if not others:
        delattr(gm.get_submodule(parent) if parent else gm, name)
    return path


class _Shapes(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["shape"] = tuple(value.shape) if isinstance(value, Tensor) else None
        return value


@torch.no_grad()
def shaped(gm: fx.GraphModule, sample: Tensor) -> fx.GraphModule:
    """Note the shape of every value, on a sample [B, ...], in the nodes' ``meta["shape"]``.

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
