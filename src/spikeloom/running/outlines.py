"""Finds the metadata of an operation's outputs by one call on zeros for each signature."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .deferred import Deferred, Info

__all__ = ["inferred"]

_inferred: dict[Any, Any] = {}  # by signature of an operation, the metadata of its outputs
_INFERRED = 10_000  # signatures at which the cache is cleared


def inferred(sign: Any, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return metadata of the outputs, the tuple type, and the kind of aliasing; None: unknown.

    One call is valid for all later calls of the same signature, since functions of the tables are
    pure.
    """
    if sign not in _inferred:
        if len(_inferred) >= _INFERRED:
            _inferred.clear()
        _inferred[sign] = _infer(function, args, kwargs)
    return _inferred[sign]


def _infer(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    def blank(value: Any) -> Any:
        if type(value) is not Deferred:
            return value
        return value.info.blank(leaf=True)

    with torch._C.DisableTorchFunction():
        args, kwargs = pytree.tree_map(blank, (args, kwargs))
        result = function(*args, **kwargs)
    wrap = None if isinstance(result, Tensor) else type(result)
    outputs = [result] if wrap is None else list(result)
    if not all(type(value) is Tensor or value is args[0] for value in outputs):
        return None
    infos = [Info.of(value) for value in outputs]
    if args and outputs[0] is args[0]:
        return infos, wrap, "self"
    leaves = pytree.tree_leaves((args, kwargs))
    storages = {v.untyped_storage()._cdata for v in leaves if isinstance(v, Tensor)}
    shared = any(value.untyped_storage()._cdata in storages for value in outputs)
    return infos, wrap, "view" if shared else None
