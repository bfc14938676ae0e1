"""Spike-timing-dependent plasticity under snnTorch's names.

The functions run one step of a rule: they map spikes and traces to new traces and a change of the
weight, which the caller adds. `STDPLearner` records the spikes of a synapse and a neuron while a
network runs, and sums the changes. Nothing here writes a weight. The rule itself is in
`spikeloom.learning.stdp`.
"""

from .learner import STDPLearner
from .single_step import (
    mstdp_linear_single_step,
    mstdpet_linear_single_step,
    stdp_conv1d_single_step,
    stdp_conv2d_single_step,
    stdp_linear_single_step,
)

__all__ = [
    "STDPLearner",
    "mstdp_linear_single_step",
    "mstdpet_linear_single_step",
    "stdp_conv1d_single_step",
    "stdp_conv2d_single_step",
    "stdp_linear_single_step",
]
