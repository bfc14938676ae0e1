"""Parts of the network under the names of n3ml: a synapse with ``w``, neurons with ``s``, ``v``."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...core.neuron import Neuron
from ...neurons.adaptive_threshold_lif import AdaptiveThresholdLIF
from ...neurons.conductance_lif import AdaptiveConductanceLIF, ConductanceLIF
from ...neurons.refractory_lif import RefractoryLIF
from .constants import Constants

__all__ = ["Population", "Synapse", "cells"]


class Synapse(nn.Linear):
    """The plastic synapses: ``nn.Linear`` without bias or gradient, with ``w`` as its weight.

    >>> Synapse(3, 2).w.shape
    torch.Size([2, 3])
    """

    def __init__(self, inputs: int, neurons: int) -> None:
        super().__init__(inputs, neurons, bias=False)
        self.weight.requires_grad_(False)

    @property
    def w(self) -> Tensor:
        """Weights, [neurons, inputs]."""
        return self.weight


class Population(nn.Module):
    """Neurons, what they did last, and, of the excitatory ones, their thresholds.

    Args:
        neuron: the equations.
        theta: what spikes have added to the thresholds, [N]; None for neurons without.
    """

    theta: Tensor

    def __init__(self, neuron: Neuron, theta: Tensor | None = None) -> None:
        super().__init__()
        self.neuron = neuron
        if theta is not None:
            self.register_buffer("theta", theta)
        self.s: Tensor = torch.zeros(0)  # spikes of the last step, [B, N] or [N]
        self.v: Tensor = torch.zeros(0)  # membranes after it, in mV above rest

    def show(self, spk: Tensor, mem: Tensor, single: bool) -> None:
        """Remember spikes and membranes for readers."""
        self.s, self.v = (spk[0], mem[0]) if single else (spk, mem)


def cells(c: Constants) -> tuple[Neuron, Neuron]:
    """The excitatory and the inhibitory neurons, their time constants in steps of ``c.dt``."""
    long, short = c.periods(5.0, 2.0)
    theta: dict[str, Any] = {
        "theta_plus": c.theta_plus,
        "theta_decay": c.theta_decay,
        "theta_offset": c.theta_offset,
        "inhibition": c.winner == "one",
    }
    if c.synapses == "current":
        exc = AdaptiveThresholdLIF(math.exp(-c.dt / c.tau_exc), refractory_steps=long, **theta)
        return exc, RefractoryLIF(math.exp(-c.dt / c.tau_inh), refractory_steps=short)
    decays: dict[str, Any] = {
        "exc_decay": math.exp(-c.dt / 1.0),
        "inh_decay": math.exp(-c.dt / 2.0),
    }
    exc = AdaptiveConductanceLIF(c.dt / c.tau_exc, refractory_steps=long, **decays, **theta)
    return exc, ConductanceLIF(c.dt / c.tau_inh, refractory_steps=short, **decays)
