"""How to read the neurons of a graph: arguments, else metadata, else convention, else an error."""

from dataclasses import dataclass
from typing import Any

import torch

from ..core import checks
from .convention import CONVENTIONS, Convention, check_rule
from .node import Node

__all__ = ["Settings"]

STARTS = ("rest", "zero")
_OR = f", or convention={', '.join(map(repr, CONVENTIONS))}"


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
        start: where membranes start, ``"rest"`` or ``"zero"``.
    """

    dt: float | None
    reset: str | None
    delay: bool | None
    recorded_dt: float | None
    convention: Convention
    spike_grad: Any
    dtype: torch.dtype
    start: str = "rest"

    def __post_init__(self) -> None:
        check_rule(self.dt, self.reset)
        checks.choice("start", self.start, STARTS)

    def time_step(self, node: Node) -> float:
        """dt, in the unit of the graph's time constants."""
        found = _first(self.dt, self.recorded_dt, self.convention.dt)
        if found is None:
            raise node.fail(
                "the graph does not say its time step, and NIR has no field for it; pass "
                f"dt=1e-4{_OR}"
            )
        return float(found)

    def reset_rule(self, node: Node) -> tuple[str, bool]:
        """The reset mechanism, and whether it acts one step later."""
        record, convention = node.metadata, self.convention
        reset = _first(self.reset, record.get("reset"), convention.reset)
        delay = _first(self.delay, record.get("delay"), convention.delay)
        if reset is None or (delay is None and reset != "none"):
            raise node.fail(
                "the graph does not say what a spike does to the membrane and when, and NIR has "
                "no field for it; "
                "pass reset='zero' or 'subtract', and delay=True (one step after the spike) or "
                f"False{_OR}",
            )
        return str(reset), bool(delay)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
