"""The graph of one step of a network, or the reason why there is none.

The one-step ``forward`` is traced with ``torch.fx``, modules with a state and torch's own layers as leaves, anew at
every run: it takes about a millisecond, and a network whose ``forward`` changes its mind never runs a stale graph.
What tracing must not do is checked and undone: assign attributes, draw random numbers, bake tensors in. The graph of
nested ``nn.Sequential`` of leaves is known without tracing: the paths of the leaves say it all.
"""

import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..core.stateful import Stateful
from .plan import NotLayerwise
from .rules import has_hooks, in_place

__all__ = ["attribute", "function_of", "graph_of", "needed_later"]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, Stateful) or type(m).__module__.startswith("spikeloom.layers.")
        return ours or super().is_leaf_module(m, module_qualified_name)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and not isinstance(a, nn.Parameter) and not any(a is b for b in self.root.buffers()):
            raise NotLayerwise("forward makes a tensor of its own")
        return super().create_arg(a)


def graph_of(net: nn.Module) -> fx.Graph:
    """The operations of one step.

    Raises:
        NotLayerwise: ``forward`` cannot be traced, keeps state that nobody knows, or calls a neuron or delay twice.
    """
    paths = _chain(net)
    if paths is not None:
        graph = _written(paths)
        _examine(net, graph)
        return graph
    before, random_before = _attributes(net), _random_state()
    try:
        graph = _Tracer().trace(net)
    except NotLayerwise:
        raise
    except Exception as error:  # whatever forward does with a stand-in for its input is the reason
        raise NotLayerwise(f"forward cannot be traced ({(str(error).splitlines() or [''])[0]})") from error
    finally:
        changed = _restored(net, before)
        drew = _random_restored(random_before)
    if changed:
        raise NotLayerwise(f"forward changes {changed}")
    if drew:
        raise NotLayerwise("forward draws random numbers")
    _examine(net, graph)
    return graph


def _chain(net: nn.Module) -> tuple[str, ...] | None:
    """The paths of the leaves of nested ``nn.Sequential``; None for any other network."""
    found: list[str] = []
    pending = [("", net)]
    while pending:
        path, module = pending.pop()
        if type(module) is nn.Sequential and not has_hooks(module):
            children = [(f"{path}.{name}" if path else name, child) for name, child in module._modules.items()]
            pending.extend(reversed([(name, child) for name, child in children if child is not None]))
        elif path and _leaves().is_leaf_module(module, path):
            found.append(path)
        else:
            return None
    return tuple(found)


@lru_cache(maxsize=1)
def _leaves() -> _Tracer:
    """Who is asked what a leaf is; traces nothing."""
    return _Tracer()


@lru_cache(maxsize=128)
def _written(paths: tuple[str, ...]) -> fx.Graph:
    """The graph of a chain; whoever runs it only reads it."""
    graph = fx.Graph()
    value = graph.placeholder("input")
    for path in paths:
        value = graph.call_module(path, (value,))
    graph.output(value)
    return graph


def _examine(net: nn.Module, graph: fx.Graph) -> None:
    modules = dict(net.named_modules(remove_duplicate=False))
    seen: set[int] = set()
    for node in graph.nodes:
        if node.op == "call_module":
            module = modules[str(node.target)]
            if isinstance(module, Stateful):
                if id(module) in seen:
                    raise NotLayerwise(f"{type(module).__name__} {node.target!r} is called twice in a step")
                seen.add(id(module))
                if len(node.args) + len(node.kwargs) > 1:
                    raise NotLayerwise(f"{type(module).__name__} {node.target!r} is passed its state")
            elif any(isinstance(m, Stateful) for m in module.modules()):
                raise NotLayerwise(f"{type(module).__name__} {node.target!r} holds a state and cannot be looked into")
        elif node.op in ("call_function", "call_method") and in_place(node.target):
            raise NotLayerwise(f"forward writes in place ({node.target})")


def attribute(net: nn.Module, target: str) -> Any:
    """What a dotted path leads to.

    >>> attribute(nn.Sequential(nn.ReLU()), "0.inplace")
    False
    """
    value: Any = net
    for name in target.split("."):
        value = getattr(value, name)
    return value


def needed_later(value: fx.Node, now: fx.Node) -> bool:
    """Whether somebody after ``now`` reads ``value``."""
    return any(user > now for user in value.users)


def function_of(node: fx.Node) -> Callable[..., Any]:
    """What a function or method node calls."""
    if node.op == "call_method":
        return lambda this, *args, **kwargs: getattr(this, str(node.target))(*args, **kwargs)
    return node.target  # pyright: ignore[reportReturnType] (the target of call_function is a function)


def _attributes(net: nn.Module) -> dict[int, dict[str, Any]]:
    """Every attribute of every module, containers copied."""
    return {id(m): {k: (v, _copy(v)) for k, v in vars(m).items()} for m in net.modules()}


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, (list, dict, set)) else value


def _restored(net: nn.Module, before: dict[int, dict[str, Any]]) -> str:
    """Undo what tracing changed; name the first change."""
    changed = ""
    for path, module in list(net.named_modules()):
        old, now = before.get(id(module)), vars(module)
        if old is None:
            continue
        for name in [*old, *(n for n in now if n not in old)]:
            value, copy = old.get(name, (None, None))
            if name in old and now.get(name) is value and _same(value, copy):
                continue
            changed = changed or ".".join(filter(None, ["self", path, name]))
            if name not in old:
                del now[name]
                continue
            if isinstance(value, list):
                value[:] = copy
            elif isinstance(value, (dict, set)):
                value.clear()
                value.update(copy)
            now[name] = value
    return changed


def _same(value: Any, copy: Any) -> bool:
    if isinstance(value, list):
        return len(value) == len(copy) and all(a is b for a, b in zip(value, copy, strict=True))
    if isinstance(value, dict):
        return value.keys() == copy.keys() and all(value[k] is copy[k] for k in value)
    return value == copy if isinstance(value, set) else True


def _random_state() -> tuple[Any, ...]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=True)


def _random_restored(before: tuple[Any, ...]) -> bool:
    now = _random_state()
    if torch.equal(now[0], before[0]) and now[1] == before[1] and now[2][2] == before[2][2]:
        return False
    torch.set_rng_state(before[0])
    random.setstate(before[1])
    np.random.set_state(before[2])
    return True
