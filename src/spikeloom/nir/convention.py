"""What a NIR file leaves open, and how other libraries fill it in.

NIR is written in continuous time: it has no field for the time step, for what a spike does to the
membrane, and for when. Our own graphs carry this in their metadata. For graphs of others it has to
be said, piece by piece or by the name of the library that wrote them.
"""

import math
from dataclasses import dataclass
from typing import Any

from ..core import checks

__all__ = ["CONVENTIONS", "Convention", "check_rule", "convention_of"]

RESETS = ("subtract", "zero", "none")


@dataclass(frozen=True)
class Convention:
    """How to read what a NIR graph does not say.

    Args:
        dt: time step, in the unit of the graph's time constants, seconds by NIR's definition.
        reset: ``"subtract"``, ``"zero"`` (to ``v_reset``) or ``"none"``.
        delay: whether the reset acts one step after the spike or in the step of the spike.
        at_threshold: whether a membrane equal to the threshold fires. NIR says no.
        loop_bias: whether a bias inside a loop acts at the first step, before any spike.
        exponential: decays are ``exp(-dt / tau)`` and inputs are scaled by one minus that; by
            default Euler's ``1 - dt / tau``.
        leftover_reset: with ``delay=False`` and ``"subtract"``: a membrane that is above the
            threshold even after its reset is lowered again before the next spike is decided.
        rates: time constants shorter than ``dt`` are ``dt`` times the true ones, and an IF of ``r =
            1`` adds its input once a step, not once a second.
        from_reset: an IF starts at its ``v_reset``, not at 0.
        plain_inputs: r and w_in scale nothing: a membrane adds its input as it is, and a synapse
            decays what it receives in the same step.

    Raises:
        ValueError: ``dt`` is not positive or ``reset`` unknown.

    >>> Convention(dt=1e-3, reset="zero", delay=False).at_threshold
    False
    """

    dt: float | None = None
    reset: str | None = None
    delay: bool | None = None
    at_threshold: bool = False
    loop_bias: bool = True
    exponential: bool = False
    leftover_reset: bool = False
    rates: bool = False
    from_reset: bool = False
    plain_inputs: bool = False

    def __post_init__(self) -> None:
        check_rule(self.dt, self.reset)


def check_rule(dt: Any, reset: Any) -> None:
    """Check a time step and a reset rule; None leaves it open.

    Raises:
        ValueError: ``dt`` is not positive or ``reset`` unknown.
    """
    if dt is not None:
        checks.in_range("dt", dt, 0.0, math.inf, open_low=True, why="it is a time step")
    if reset is not None:
        checks.choice("reset", reset, RESETS)


# As their own exporters and cells compute. snnTorch 1.0.0. Norse 1.1.0: its exporter writes dt /
# tau_inv where tau is 1 / tau_inv, and r = 1 for an IF that adds its input. Sinabs: time constants
# in steps; that it can fire several spikes in a step is nothing that NIR could say. SpikingJelly
# 2.0.0. Rockpool 3.1.0, which computes its time step from r: here dt is the one of its modules.
CONVENTIONS = {
    "snntorch": Convention(1e-4, "zero", False, leftover_reset=True),
    "norse": Convention(1e-3, "zero", False, loop_bias=False, rates=True),
    "sinabs": Convention(1.0, "subtract", False, exponential=True),
    "spikingjelly": Convention(
        1e-4, "zero", False, at_threshold=True, loop_bias=False, from_reset=True
    ),
    "rockpool": Convention(
        1e-3, "subtract", False, at_threshold=True, exponential=True, plain_inputs=True
    ),
}


def convention_of(given: str | Convention | None) -> Convention:
    """The convention that was named; the empty one for None.

    Raises:
        ValueError: there is none of this name.
        TypeError: it is neither a name nor a `Convention`.

    >>> convention_of("norse").dt
    0.001
    """
    if given is None:
        return Convention()
    if isinstance(given, str):
        return CONVENTIONS[checks.choice("convention", given, CONVENTIONS)]
    if not isinstance(given, Convention):
        raise TypeError(
            f"convention must be one of {', '.join(map(repr, CONVENTIONS))} or a Convention, got "
            f"{given!r}; "
            "write convention=Convention(dt=1e-3, reset='zero', delay=False)"
        )
    return given
