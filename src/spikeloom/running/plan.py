"""Describes how a network was executed, as a value that prints as a table."""

import html
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ..core.notebook import Printed

__all__ = ["Forced", "Plan", "Row", "Run"]


class Row(NamedTuple):
    """How one layer of the recorded program was executed.

    >>> Row("fc", "Linear", "time folded into the batch").how
    'time folded into the batch'
    """

    name: str  # dotted path of a module, or file and line
    kind: str  # type of the module, or name of the function
    how: str


class Forced(NamedTuple):
    """An operation that needed a value while the program was recorded, and where it is.

    >>> Forced("item", "train.py", 12, 25).line
    12
    """

    what: str  # function or module
    file: str
    line: int
    count: int


@dataclass
class Plan(Printed):
    """How a network was executed over time.

    Args:
        layerwise: True: layers ran over all steps; False: the loop was not recorded to its end.
        reason: why it was not; empty if it was.
        rows: one for each layer, in the order of the program.
        forced: operations that needed a value before the end, with the user's file and line and
            their number. Each splits the layers that it depends on into pieces.
        segments: how time was divided; empty if it was not.

    >>> print(Plan(True, rows=[Row("0", "Linear", "once: its input is constant in time")]))
    layer by layer
      0  Linear  once: its input is constant in time
    """

    layerwise: bool
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    forced: list[Forced] = field(default_factory=list)
    segments: str = ""

    def __str__(self) -> str:
        head = "layer by layer" if self.layerwise else f"step by step: {self.reason}"
        widths = [max((len(row[i]) for row in self.rows), default=0) for i in (0, 1)]
        lines = [", ".join(filter(None, [head, self.segments]))]
        for row in self.rows:
            lines.append(f"  {row.name:<{widths[0]}}  {row.kind:<{widths[1]}}  {row.how}")
        if self.forced:
            lines.append("computed on the spot, because a value was needed:")
        for what, file, line, count in self.forced:
            lines.append(f"  {what} at {file}:{line}, {count} times")
        return "\n".join(lines)


class Run(NamedTuple):
    """What `run` returns when something is recorded or explained.

    >>> Run("output", {}, Plan(True)).output
    'output'
    """

    output: Any  # of the network, stacked over time
    record: dict[str, Tensor]  # "path.spk", "path.mem", ...: [T, B, ...]
    plan: Plan

    def _repr_html_(self) -> str:
        shapes = {"output": self.output, **self.record}
        lines = [f"{name}: {_shape(value)}" for name, value in shapes.items()]
        return f"<pre>{html.escape(chr(10).join([*lines, str(self.plan)]))}</pre>"


def _shape(value: Any) -> str:
    """The shape of a tensor, or of each one in a tuple."""
    if isinstance(value, tuple):
        return ", ".join(map(_shape, value))
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
