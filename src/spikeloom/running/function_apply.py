"""Intercepts calls that torch function modes miss: ``Function.apply``, ``torch.func``, checkpoints.

Without this a hand-written surrogate (``act = ZIF.apply``) would lose the gradient of a recorded
value. ``apply`` itself cannot be replaced, because it may be bound to a name before, and in torch
2.14 it is written in C. But it first creates a context, which is a Python class, and then gets
``forward`` from it. ``torch.vmap``, ``torch.func.grad`` and ``torch.utils.checkpoint`` receive
computed values. While nothing is recorded, all of them call the original.
"""

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakSet

import torch
from torch._functorch import apis, eager_transforms
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import BackwardHook

from ..core import recording
from .deferred import Deferred, Info

__all__ = ["install"]

_lock = threading.Lock()
_installed: list[bool] = []
_guarded: WeakSet[Any] = WeakSet()  # functions whose ``forward`` was replaced
_applied = threading.local()  # grad: the gradient mode in which the last function was applied


def install() -> None:
    """Replace these functions; does nothing the second time."""
    with _lock:
        if _installed:
            return
        _installed.append(True)
        context: Any = torch.autograd.function.BackwardCFunction
        context.__init__ = _started
        _replace(apis, "vmap_impl")
        _replace(eager_transforms, "grad_impl")
        _replace(eager_transforms, "grad_and_value_impl")
        _replace(BackwardHook, "_apply_on_tensors")  # hooks of modules look at grad_fn
        _replace_checkpoint()


def _started(context: Any) -> None:
    """Note that a function is applied; C calls this before it switches gradients off."""
    if recording.local.recorder is None:
        return
    _applied.grad = torch.is_grad_enabled()
    cls = type(context)._forward_cls
    with _lock:
        if cls not in _guarded:
            _guarded.add(cls)
            cls.forward = staticmethod(_guard(cls, cls.forward))


def _guard(cls: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``forward`` so that it gives recorded values to the recorder, which computes them."""
    with_context = cls.setup_context is torch.autograd.Function.setup_context

    @functools.wraps(forward)
    def guarded(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return forward(*args)
        recorder = recording.local.recorder
        given = args[1:] if with_context else args
        if recorder is None or not any(map(_is_recorded, given)):
            return forward(*args)
        with torch.set_grad_enabled(_applied.grad):
            return _shielded(cls, recorder, recorder.applied(cls, given))

    return guarded


def _is_recorded(value: Any) -> bool:
    if isinstance(value, (list, tuple, dict)):
        return any(type(leaf) is Deferred for leaf in pytree.tree_leaves(value))
    return type(value) is Deferred


def _shielded(cls: Any, recorder: Any, result: Any) -> Any:
    """Put placeholders in place of tensors with a graph, which C would cut."""
    several = type(result) is tuple
    found = list(result) if several else [result]
    with torch._C.DisableTorchFunction():
        for i, value in enumerate(found):
            if type(value) is torch.Tensor and value.requires_grad:
                copy = value.clone()  # of a view, or of an input that was written
                found[i] = recorder.given((cls, i, Info.of(copy).sign), copy)
    return tuple(found) if several else found[0]


def _replace_checkpoint() -> None:
    """Replace the implementation that ``checkpoint`` reads at each call.

    This covers references to ``checkpoint`` that were bound earlier.
    """
    implementation = getattr(checkpoint, "__wrapped__", None)
    if implementation is None:
        return  # a value that it cannot save then raises an error that explains it
    vars(implementation)["__dynamo_disable"] = _outside(functools.partial(_plain, implementation))


def _plain(implementation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return torch._dynamo.disable(implementation, wrapping=False)(*args, **kwargs)


def _replace(module: ModuleType | type, name: str) -> None:
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
