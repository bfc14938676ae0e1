"""The numbers of the Diehl & Cook network, checked, and what a step of them amounts to."""

import math
from dataclasses import dataclass

from ...core import checks

__all__ = ["SYNAPSES", "WINNERS", "Constants"]

SYNAPSES = ("current", "conductance")
WINNERS = ("one", "all")


@dataclass(frozen=True)
class Constants:
    """All numbers of the network but its size and rule; see `DiehlAndCook2015` for each."""

    dt: float
    time: float
    rest: float
    rate_max: float
    boost: float
    min_spikes: int
    retries: int
    norm: float
    gain: float
    exc: float
    inh: float
    tau_exc: float
    tau_inh: float
    theta_plus: float
    tc_theta: float
    theta_start: float
    theta_offset: float
    winner: str
    synapses: str

    def __post_init__(self) -> None:
        checks.choice("winner", self.winner, WINNERS)
        checks.choice("synapses", self.synapses, SYNAPSES)
        for name, why in (
            ("dt", "it is the duration of a step in ms"),
            ("time", "it is a duration in ms"),
            ("norm", "it is the sum of the weights of a neuron"),
            ("tau_exc", "it is a time constant in ms"),
            ("tau_inh", "it is a time constant in ms"),
            ("tc_theta", "it is a time constant in ms"),
        ):
            checks.in_range(name, getattr(self, name), 0.0, math.inf, open_low=True, why=why)
        for name in (
            "rest",
            "boost",
            "min_spikes",
            "retries",
            "gain",
            "exc",
            "inh",
            "theta_plus",
            "theta_offset",
        ):
            checks.in_range(
                name, getattr(self, name), 0.0, math.inf, why="the model has no negative one"
            )
        highest = 1000 / self.dt
        checks.in_range(
            "rate_max", self.rate_max, 0.0, highest, open_low=True, why="at most one spike a step"
        )
        if self.steps < 1:
            raise ValueError(
                f"time must be at least dt={self.dt:g} ms, got {self.time:g} ms; write time=250"
            )

    @property
    def steps(self) -> int:
        """Time steps of a presentation."""
        return round(self.time / self.dt)

    @property
    def theta_decay(self) -> float:
        """Fraction of theta that is left after a step."""
        return math.exp(-self.dt / self.tc_theta)

    @property
    def theta_rest(self) -> float:
        """Fraction of theta that is left after the pause that follows a presentation."""
        return math.exp(-self.rest / self.tc_theta)

    def probability(self, again: int) -> float:
        """Probability of an input spike in a step for a pixel of 1.

        ``again`` is the number of the presentation, from 0.
        """
        return (self.rate_max + again * self.boost) * self.dt / 1000

    def periods(self, exc: float, inh: float) -> tuple[int, int]:
        """Refractory periods in ms as steps."""
        return round(exc / self.dt), round(inh / self.dt)
