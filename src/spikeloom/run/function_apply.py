"""Intercepts calls that torch function modes miss: ``Function.apply``, ``torch.func``, checkpoints.

Without this a hand-written surrogate (``act = ZIF.apply``) would lose the gradient of a recorded
value. Where ``Function.apply`` is written in Python, its code is replaced once, so that references
bound earlier are covered too; where it is written in C (torch 2.14), the attribute is replaced.
``torch.vmap``, ``torch.func.grad`` and ``torch.utils.checkpoint`` receive computed values. While
nothing is recorded, all of them call the original.
"""

import functools
import threading
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch._functorch import apis, eager_transforms
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from ..core import recording
from .deferred import Deferred

__all__ = ["install"]

_lock = threading.Lock()
_installed: list[bool] = []
_SOURCE = """
def make(__class__):
    def apply(cls, *args, **kwargs):
        __class__
        return _spikeloom_apply(cls, args, kwargs)
    return apply
"""


def install() -> None:
    """Replace these functions; does nothing the second time."""
    with _lock:
        if _installed:
            return
        _installed.append(True)
        function: Any = torch.autograd.Function
        if hasattr(function.apply, "__func__"):
            _replace_code(function)
        else:
            _replace_attribute(function)
        _replace(apis, "vmap_impl")
        _replace(eager_transforms, "grad_impl")
        _replace(eager_transforms, "grad_and_value_impl")
        _replace_checkpoint()


def _seen(original: Callable[..., Any]) -> Callable[..., Any]:
    def seen(cls: Any, args: Any, kwargs: Any) -> Any:
        recorder = recording.local.recorder
        if recorder is None:
            return original(cls, *args, **kwargs)
        if not any(type(v) is Deferred for v in pytree.tree_leaves((args, kwargs))):
            return original(cls, *args, **kwargs)
        return recorder.applied(cls, args, kwargs, original)

    return seen


def _replace_code(function: Any) -> None:
    apply = function.apply.__func__
    original = FunctionType(
        apply.__code__, apply.__globals__, "apply", apply.__defaults__, apply.__closure__
    )
    original.__kwdefaults__ = apply.__kwdefaults__
    apply.__globals__["_spikeloom_apply"] = _seen(original)
    namespace: dict[str, Any] = {}
    exec(_SOURCE, apply.__globals__, namespace)
    apply.__code__ = namespace["make"](function).__code__


def _replace_attribute(function: Any) -> None:
    descriptor = function.__dict__["apply"]

    def original(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return descriptor.__get__(None, cls)(*args, **kwargs)

    seen = _seen(original)

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return seen(cls, args, kwargs)

    function.apply = classmethod(apply)


def _replace_checkpoint() -> None:
    """Replace the implementation that ``checkpoint`` looks up at each call.

    This covers references to ``checkpoint`` that were bound earlier.
    """
    implementation = getattr(checkpoint, "__wrapped__", None)
    if implementation is None:
        return  # a value that it cannot save then raises an error that explains it
    vars(implementation)["__dynamo_disable"] = _outside(functools.partial(_plain, implementation))


def _plain(implementation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return torch._dynamo.disable(implementation, wrapping=False)(*args, **kwargs)


def _replace(module: ModuleType, name: str) -> None:
    original = getattr(module, name)
    setattr(module, name, functools.wraps(original)(_outside(original)))


def _outside(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls ``original`` with computed values in place of recorded ones."""

    def call(*args: Any, **kwargs: Any) -> Any:
        recorder = recording.local.recorder
        if recorder is None:
            return original(*args, **kwargs)
        return recorder.outside(original, args, kwargs)

    return call
