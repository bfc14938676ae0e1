"""Sees calls of ``torch.autograd.Function.apply``, which no torch function mode does.

A hand-written surrogate (``act = ZIF.apply``) given a recorded value would lose its gradient. The
code of ``Function.apply`` is replaced once, so that references that were bound earlier see it too;
where nothing is recorded it calls the original. Since torch 2.14 ``apply`` is written in C and has no
code to replace: the attribute is, and a reference that was bound before the first run is not seen.
"""

import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..core import recording
from .deferred import Deferred

__all__ = ["install"]

_lock = threading.Lock()

_SOURCE = """
def make(__class__):
    def apply(cls, *args, **kwargs):
        __class__
        return _spikeloom_apply(cls, args, kwargs)
    return apply
"""


def install() -> None:
    """Replace ``Function.apply``; does nothing the second time."""
    with _lock:
        function: Any = torch.autograd.Function
        in_python = hasattr(function.apply, "__func__")
        if not in_python:
            _replace_attribute(function)
        elif "_spikeloom_apply" not in function.apply.__func__.__globals__:
            _replace_code(function)


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
    original = FunctionType(apply.__code__, apply.__globals__, "apply", apply.__defaults__, apply.__closure__)
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

    apply.__globals__["_spikeloom_apply"] = seen
    function.apply = classmethod(apply)
