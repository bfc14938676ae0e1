"""The modes that an operation was recorded in, and how to compute under them later."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import is_grad_enabled
from torch._C import _is_any_autocast_enabled
from torch._C._autograd import _top_saved_tensors_default_hooks
from torch.autograd import graph

__all__ = ["Modes", "current", "saving_hooks", "under"]

Modes = tuple[bool, tuple[Any, ...], bool]

_PLAIN: dict[bool, Modes] = {grad: (grad, (), False) for grad in (False, True)}
_others: dict[Modes, Modes] = {}
_DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def current() -> Modes:
    """Return grad mode, device and dtype of active autocasts, and whether saved-tensor hooks exist.

    Equal modes are one object.

    >>> current()
    (True, (), False)
    """
    if not _is_any_autocast_enabled() and _top_saved_tensors_default_hooks(False) is None:
        return _PLAIN[is_grad_enabled()]
    cast = [device for device in _DEVICES if torch.is_autocast_enabled(device)]
    dtypes = tuple((device, torch.get_autocast_dtype(device)) for device in cast)
    found = is_grad_enabled(), dtypes, saving_hooks()
    return _others.setdefault(found, found)


def saving_hooks() -> bool:
    """Whether hooks for saved tensors are active (checkpointing, offloading)."""
    return _top_saved_tensors_default_hooks(False) is not None


def under(modes: Modes, *, hooks: bool = False) -> AbstractContextManager[None]:
    """Compute in the modes in which an operation was recorded, without any recorder.

    Args:
        modes: see `current`.
        hooks: keep hooks for saved tensors active. By default they are disabled, since the block
            around the computation is not the block around the recorded operation.
    """
    unhooked = not hooks and saving_hooks()
    if current()[:2] == modes[:2] and not unhooked:
        return torch._C.DisableTorchFunction()
    return _switched(modes, unhooked)


@contextmanager
def _switched(modes: Modes, unhooked: bool) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(torch._C.DisableTorchFunction())
        stack.enter_context(torch.set_grad_enabled(modes[0]))
        for device in _DEVICES:
            dtype = dict(modes[1]).get(device)
            stack.enter_context(torch.autocast(device, dtype, enabled=dtype is not None))
        if unhooked:
            stack.enter_context(graph.saved_tensors_hooks(_same, _same))
        yield


def _same(value: Any) -> Any:
    return value
