"""What a run did and why, as a value that prints as a table."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["NotLayerwise", "Plan", "Row", "Run"]


class NotLayerwise(Exception):
    """The network cannot be run layer by layer; the text says why."""


class Row(NamedTuple):
    """How one operation was executed."""

    name: str  # dotted path of a layer, or the function
    kind: str
    how: str


@dataclass
class Plan:
    """How a network was executed over time.

    Args:
        layerwise: each layer over all steps, one after the other; False: the whole network step by step.
        reason: why not layer by layer; empty if it was.
        rows: one for each operation, in order.
        segments: how time was divided; empty if it was not.

    >>> print(Plan(True, rows=[Row("0", "Linear", "once: its input is constant in time")]))
    layer by layer
      0  Linear  once: its input is constant in time
    """

    layerwise: bool
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    segments: str = ""

    def __str__(self) -> str:
        if not self.layerwise:
            return f"step by step: {self.reason}"
        widths = [max((len(row[i]) for row in self.rows), default=0) for i in (0, 1)]
        lines = [f"  {r.name:<{widths[0]}}  {r.kind:<{widths[1]}}  {r.how}" for r in self.rows]
        return "\n".join([", ".join(filter(None, ["layer by layer", self.segments])), *lines])


class Run(NamedTuple):
    """What `run` returns when something is recorded or explained.

    >>> Run("output", {}, Plan(True)).output
    'output'
    """

    output: Any  # of the network, stacked over time
    record: dict[str, Tensor]  # "path.spk", "path.mem", ...: [T, B, ...]
    plan: Plan
