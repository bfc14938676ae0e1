"""One time step of the two populations: excitation, inhibition, and the thresholds that a batch
shares.

The neurons' own transitions compute it, so that no equation stands here. There is no matrix between
the populations: each excitatory neuron drives its own partner, and each partner inhibits all
excitatory neurons but its own.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core.neuron import Neuron

__all__ = ["Circuit", "CircuitState", "at_rest"]


class CircuitState(NamedTuple):
    """Where a presentation stands."""

    exc: Any  # state of the excitatory neurons, [B, N] each; its theta is the same for all samples
    inh: Any  # state of the inhibitory ones
    answers: Tensor  # inhibitory spikes of the step before, [B, N]
    # rise of the thresholds, [N], as if none of it had been forgotten since the presentation began
    theta: Tensor
    steps: int  # since then


class Circuit:
    """The populations with their parameters looked up once.

    Theta is forgotten within hours, and 1 - 10^-7 a step is no number of single precision: it is
    kept undecayed during a presentation, and multiplied by a factor for all its steps when it is
    read.

    Args:
        exc: excitatory neurons, with a state ``theta``.
        inh: their partners.
        drive: what an excitatory spike does to its partner.
        inhibition: what an inhibitory spike does to the excitatory neurons of the others.
        tau: time constant of theta in steps of all samples together; infinite where the thresholds
            are frozen.
        rise: of a threshold by a spike; 0 where they are frozen.
        dtype: of the computation.
    """

    def __init__(
        self,
        exc: Neuron,
        inh: Neuron,
        drive: float,
        inhibition: float,
        tau: float,
        rise: float,
        dtype: torch.dtype,
    ) -> None:
        self.exc, self.inh, self.drive, self.inhibition = (
            exc.transition,
            inh.transition,
            drive,
            inhibition,
        )
        self.conductances = "g_inh" in exc.State._fields
        p = exc.params(dtype)
        self.p_exc = p._replace(
            theta_decay=torch.ones_like(p.theta_decay), theta_plus=torch.zeros_like(p.theta_plus)
        )
        self.p_inh = inh.params(dtype)
        self.tau, self.rise = tau, rise

    def step(self, current: Tensor, state: CircuitState) -> tuple[Tensor, CircuitState]:
        """Excitatory spikes and the new state.

        Args:
            current: input drive of the excitatory neurons, [B, N].
            state: of the step before.
        """
        exc, answers, theta, steps = state.exc, state.answers, state.theta, state.steps + 1
        lateral = self.inhibition * (answers.sum(-1, keepdim=True) - answers)
        if self.conductances:
            exc = exc._replace(g_inh=exc.g_inh + lateral)
        else:
            current = current - lateral
        level = math.exp(-steps / self.tau)
        if level != 1:
            exc = exc._replace(theta=(theta * level).expand_as(current))
        spk, exc = self.exc(current, exc, self.p_exc)
        if self.rise:
            theta = theta + (self.rise / level) * spk.sum(0)
            exc = exc._replace(theta=(theta * level).expand_as(current))
        answers, inh = self.inh(self.drive * spk, state.inh, self.p_inh)
        return spk, CircuitState(exc, inh, answers, theta, steps)


def at_rest(exc: Neuron, inh: Neuron, theta: Tensor, samples: int) -> CircuitState:
    """The state before a presentation: membranes at rest, thresholds as learned."""
    like = theta.new_zeros(samples, len(theta))
    first = exc.initial(like)._replace(theta=theta.expand_as(like))
    return CircuitState(first, inh.initial(like), like, theta, 0)
