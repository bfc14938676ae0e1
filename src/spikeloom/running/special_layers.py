"""Layers of functions that are recorded separately: stacks and batch norm in training."""

from typing import Any

import torch
from torch import Tensor

from ..core import recording
from .deferred import Deferred, Info
from .execution import Execution
from .program import Layer, Reference, Slot

__all__ = ["NOT_TOGETHER", "BatchNormLayer", "StackLayer"]

NOT_TOGETHER = (
    'batch_norm="time" takes the statistics of all steps together, but something needed the '
    'values of a step before the last one was recorded; write batch_norm="step", with which '
    "explain=True lists such lines, and move them behind the run"
)


class StackLayer(Layer):
    """``torch.stack`` or ``torch.cat`` of single values."""

    items: list[Any]  # references and tensors
    dim: int

    def __init__(self, function: Any, mode: Any, where: str) -> None:
        super().__init__(function, "stack", mode, where)

    def references(self) -> list[Reference]:
        return [item for item in self.items if type(item) is Reference]

    def run(self, execution: Execution, span: range, need: Any) -> str:
        whole = self._whole(execution)
        if whole is None:
            for reference in self.references():
                execution.layers[reference.layer].consumed = True
            one = execution.values.one
            items = [one(*v) if type(v) is Reference else v for v in self.items]
            whole = self.function(items, self.dim)
        execution.values.put(self, 0, 1, [whole])
        return ""

    def _whole(self, execution: Execution) -> Tensor | None:
        """Return the stacked steps if the items are all steps of one output; else None."""
        first = self.items[0]
        if self.function is not torch.stack or type(first) is not Reference:
            return None
        same = (type(v) is Reference and v[:2] == first[:2] for v in self.items)
        if not all(same):
            return None
        execution.layers[first.layer].consumed = True
        indices = [item.index for item in self.items]
        value, constant = execution.values.along(first.layer, first.out, indices)
        return value if not constant and self.dim in (0, -value.dim()) else None


class BatchNormLayer(Layer):
    """Batch norm in training; its running statistics are updated once for each call, in order."""

    def __init__(self, function: Any, mode: Any, where: str) -> None:
        super().__init__(function, "batch_norm", mode, where)
        self.effect = True

    def reads(self, x: Deferred, options: dict[str, Any]) -> None:
        """Set the input and the other arguments."""
        self.slots = [Slot(0, x.layer, x.out)]
        self.args = (self.slots[0],)
        self.kwargs = options
        with torch._C.DisableTorchFunction():
            self.infos = [Info.of(_normed(x.info.blank(leaf=True), **_copied(options)))]

    def run(self, execution: Execution, span: range, need: Any) -> str:
        # a segment that is computed again updates nothing
        options = _copied(self.kwargs) if execution.again else self.kwargs
        norm = recording.local.batch_norm or self.function
        count = len(span)
        occurrences = self.occurrences[span.start : span.stop]
        slot = self.slots[0]
        x, constant = execution.along(slot, occurrences)
        divided = span.start > 0 and len(set(self.occurrences[: span.stop])) > 1
        if execution.batch_norm == "time" and divided:
            raise ValueError(NOT_TOGETHER)
        if execution.batch_norm == "time" and not constant:
            y = norm(x.flatten(0, 1), **options).unflatten(0, x.shape[:2])
            execution.values.put_timed(self, 0, count, y)
            return "time folded into the batch"
        if constant:
            with torch.no_grad():
                for _ in range(count - 1):
                    norm(x, **options)
            y = norm(x, **options)
            execution.values.put(self, 0, count, [y] * count)
            return "once; its running statistics are updated at every step"
        steps = [
            norm(execution.values.one(slot.layer, slot.out, at[0]), **options) for at in occurrences
        ]
        execution.values.put(self, 0, count, steps)
        return "step by step: its statistics are those of a step"


def _normed(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm without the refusal of a single value: other processes may hold further ones."""
    return torch.batch_norm(
        x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=False
    )


def _copied(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments with copies of the running statistics."""
    return {
        name: value.clone() if name.startswith("running") and isinstance(value, Tensor) else value
        for name, value in options.items()
    }
