"""One time step of the two populations: excitation, inhibition, thresholds shared by a batch.

The transitions of the neurons compute it, so this file has no equation. There is no matrix between
the populations: each excitatory neuron drives its own partner, and each partner inhibits
all excitatory neurons but its own.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core.neuron import Neuron

__all__ = ["Circuit", "CircuitState", "at_rest"]


class CircuitState(NamedTuple):
    """State of a presentation."""

    exc: Any  # state of the excitatory neurons, [B, N] each; its theta is the same for all samples
    inh: Any  # state of the inhibitory ones
    answers: Tensor  # inhibitory spikes of the step before, [B, N]
    # rise of the thresholds, [N], as if none of it had been forgotten since the presentation began
    theta: Tensor
    steps: int  # since then


class Circuit:
    """The populations with cached parameters.

    Theta decays within hours, and 1 - 10^-7 a step is not a number of single precision: theta is
    stored without decay during a presentation, and multiplied by a factor for all its steps when it
    is read.

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
        self.exc = exc.transition
        self.inh = inh.transition
        self.drive = drive
        self.inhibition = inhibition
        self.conductances = "g_inh" in exc.State._fields
        p = exc.params(dtype)
        self.p_exc = p._replace(
            theta_decay=torch.ones_like(p.theta_decay), theta_plus=torch.zeros_like(p.theta_plus)
        )
        self.p_inh = inh.params(dtype)
        self.tau = tau
        self.rise = rise

    def step(self, current: Tensor, state: CircuitState) -> tuple[Tensor, CircuitState]:
        """Excitatory spikes and the new state.

        Args:
            current: input drive of the excitatory neurons, [B, N].
            state: of the step before.
        """
        exc = state.exc
        answers = state.answers
        theta = state.theta
        steps = state.steps + 1
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
