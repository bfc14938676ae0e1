"""The graph of one step of a network, or the reason why there is none.

The ``forward`` of a copy of the network is traced with ``torch.fx``; modules with a state and
torch's own layers are leaves. A graph can be written to a file; `spikeloom.run` does not use it.
"""

import copy
import operator
import threading
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core.stateful import Stateful
from ..layers.feedback import Feedback

__all__ = ["NoGraph", "graph_of"]

_lock = threading.Lock()  # while it traces, torch.fx replaces the call of every module


class NoGraph(Exception):
    """The network is no graph of layers; the text says why."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, Stateful) or type(m).__module__.startswith("spikeloom.layers.")
        return ours or super().is_leaf_module(m, module_qualified_name)

    def create_arg(self, a: Any) -> Any:
        own = isinstance(a, nn.Parameter) or any(a is b for b in self.root.buffers())
        if isinstance(a, Tensor) and not own:
            raise NoGraph("forward makes a tensor of its own")
        return super().create_arg(a)


def graph_of(net: nn.Module) -> fx.Graph:
    """The operations of one step.

    Raises:
        NoGraph: ``forward`` cannot be traced, writes in place, or calls a neuron twice or with its
            state.
    """
    twin = copy.deepcopy(net)  # what forward changes while it is traced is the copy's
    try:
        with _lock, torch.random.fork_rng(devices=[]):
            graph = _Tracer().trace(twin)
    except NoGraph:
        raise
    except Exception as error:  # whatever forward does with a stand-in for its input is the reason
        first_line = (str(error).splitlines() or [""])[0]
        raise NoGraph(f"forward cannot be traced ({first_line})") from error
    _examine(net, graph)
    return graph


def _examine(net: nn.Module, graph: fx.Graph) -> None:
    modules = dict(net.named_modules(remove_duplicate=False))
    seen: set[int] = set()
    for node in graph.nodes:
        if node.op in ("call_function", "call_method") and _in_place(node.target):
            raise NoGraph(f"forward writes in place ({node.target})")
        if node.op != "call_module":
            continue
        module = modules[str(node.target)]
        name = f"{type(module).__name__} {node.target!r}"
        if isinstance(module, (Stateful, Feedback)):
            if id(module) in seen:
                raise NoGraph(f"{name} is called twice in a step")
            if len(node.args) + len(node.kwargs) > 1:
                raise NoGraph(f"{name} is passed its state")
            seen.add(id(module))
        elif any(isinstance(inner, Stateful) for inner in module.modules()):
            raise NoGraph(f"{name} holds a state and cannot be looked into")


def _in_place(target: Any) -> bool:
    """Whether an operation writes into its argument."""
    if isinstance(target, str):
        return target.endswith("_") and not target.endswith("__")
    name = getattr(target, "__name__", "")
    ours = getattr(target, "__module__", "") == "_operator"
    return ours and name.startswith("i") and hasattr(operator, name[1:])
