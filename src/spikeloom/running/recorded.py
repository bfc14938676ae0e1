"""Calls a function under a recorder."""

import functools
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from ..core import checks, dispatch, recording
from .execution import Execution
from .function_apply import install
from .plan import Forced, Plan, Row
from .recorder import Recorder

__all__ = ["cannot_record", "leaves_of", "names_of", "outside_graphs", "plan_of", "recorded"]


def outside_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` so that ``torch.compile`` calls it without tracing into it."""
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # importing it takes longer than most runs
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch._dynamo.disable(function))
        return disabled[0](*args, **kwargs)

    call.__dict__["_torchdynamo_disable"] = True  # torch's own marker
    return call


def cannot_record(leaves: list[Any]) -> bool:
    """Whether a call with these arguments is already traced, transformed or recorded."""
    if recording.local.recorder is not None or torch.compiler.is_compiling():
        return True
    if checks.transformed() or checks.forward_mode():
        return True
    if torch._C._get_tracing_state() is not None:
        return True
    if torch._C._len_torch_dispatch_stack() > 0 and not all(
        getattr(mode, "counts_recordings", False) for mode in _get_current_dispatch_mode_stack()
    ):
        return True
    tensors = [value for value in leaves if isinstance(value, Tensor)]
    known = (Tensor, nn.Parameter)
    return any(type(value) not in known or value.layout is not torch.strided for value in tensors)


def names_of(net: nn.Module) -> dict[int, tuple[str, str]]:
    """Return path and type of each module, by the ``id`` of the module and of its weights."""
    names: dict[int, tuple[str, str]] = {}
    for path, module in net.named_modules():
        name = path, type(module).__name__
        names[id(module)] = name
        for weight in module._parameters.values():
            if weight is not None:
                names.setdefault(id(weight), name)
    return names


def recorded(
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    recorder: Recorder,
    steps: int | None = None,
) -> Any:
    """Call a function, record its operations, run them layer by layer and return the result.

    An error in the user's code is raised unchanged; written and referenced tensors are then as the
    plain call would have left them.

    Args:
        function: the function.
        args, kwargs: its arguments.
        recorder: holds the record.
        steps: T of padded recordings, where it is known.
    """
    install()
    try:
        with recorder:
            result = function(*args, **kwargs)
        recorder.check_ends(steps)
    except BaseException as error:
        _complete(recorder, error)
        raise
    holder = [result]
    del result  # this reference would make a returned value look referenced by the user
    with dispatch.together():
        return recorder.finish(holder.pop())


def _complete(recorder: Recorder, error: BaseException) -> None:
    """Compute the remaining layers after an error; later errors do not replace the first."""
    try:
        recorder.finish(None)
    except Exception as other:
        if sys.version_info >= (3, 11):
            error.add_note(f"and then, while the recorded steps were completed: {other}")
    finally:
        recorder.release()


def plan_of(recorder: Recorder, execution: Execution) -> Plan:
    """Return the plan of what a recorder did."""
    rows = _merged([execution.rows[number] for number in sorted(execution.rows)])
    forced = []
    for (what, where), count in recorder.forced.items():
        file, _, line = where.rpartition(":")
        forced.append(Forced(what, file, int(line) if line.isdigit() else 0, count))
    reason = "its operations hardly repeat, so that recording stopped" if recorder.off else ""
    return Plan(not recorder.off, reason, rows, forced)


def _merged(rows: list[Row]) -> list[Row]:
    """One row for many equal ones: feedback makes a layer of its own at every step."""
    counts = Counter(rows)
    merged = []
    for row in dict.fromkeys(rows):
        if counts[row] > 2:
            row = row._replace(how=f"in {counts[row]} parts, one after the other")
        merged.append(row)
    return merged


def leaves_of(args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """Return the leaves of a call's arguments."""
    return pytree.tree_leaves((args, kwargs))
