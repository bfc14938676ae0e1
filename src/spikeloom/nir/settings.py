"""How to read the neurons of a graph: arguments, else metadata, else convention, else an error."""

from dataclasses import dataclass
from typing import Any

import torch

from ..core import checks
from .convention import RESETS, Convention
from .node import Node, fail

__all__ = ["Settings"]

_OR = ", or convention='snntorch', 'norse', 'sinabs' or 'spikingjelly'"


@dataclass(frozen=True)
class Settings:
    """How to read the neurons of a graph.

    Args:
        dt: time step that was passed.
        reset: reset rule that was passed.
        delay: reset delay that was passed.
        recorded_dt: time step in the metadata of the graph.
        convention: for what neither the call nor the metadata says.
        spike_grad: surrogate for all neurons; default: the recorded one, or that of `Neuron`.
        dtype: of the network.
    """

    dt: float | None
    reset: str | None
    delay: bool | None
    recorded_dt: float | None
    convention: Convention
    spike_grad: Any
    dtype: torch.dtype

    def __post_init__(self) -> None:
        if self.dt is not None:
            checks.in_range(
                "dt", self.dt, 0.0, float("inf"), open_low=True, why="it is a time step"
            )
        if self.reset is not None:
            checks.choice("reset", self.reset, RESETS)

    def time_step(self, name: str, node: Node) -> float:
        """dt, in the unit of the graph's time constants."""
        for value in (self.dt, self.recorded_dt, self.convention.dt):
            if value is not None:
                return float(value)
        raise fail(
            name,
            node,
            f"the graph does not say its time step, and NIR has no field for it; pass dt=1e-4{_OR}",
        )

    def reset_rule(self, name: str, node: Node) -> tuple[str, bool]:
        """The reset mechanism, and whether it acts one step later."""
        record, convention = node.metadata, self.convention
        reset = next(
            (v for v in (self.reset, record.get("reset"), convention.reset) if v is not None), None
        )
        delay = next(
            (v for v in (self.delay, record.get("delay"), convention.delay) if v is not None), None
        )
        if reset is None or (delay is None and reset != "none"):
            raise fail(
                name,
                node,
                "the graph does not say what a spike does to the membrane and when, and NIR has "
                "no field for it; "
                "pass reset='zero' or 'subtract', and delay=True (one step after the spike) or "
                f"False{_OR}",
            )
        return str(reset), bool(delay)
