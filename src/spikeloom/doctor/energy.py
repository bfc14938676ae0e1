"""From counts to energy: what an operation and a moved bit cost.

Every figure is an estimate from published prices of operations, never a measurement. The number
that most papers print, accumulates alone, is computed beside the one that includes memory, because
reading a weight costs more than adding it.
"""

import math
from dataclasses import dataclass

from ..core.numbers import real, whole

__all__ = ["ARITHMETIC", "MEMORY", "NEUROMORPHIC", "EnergyModel", "matched_bits"]


def matched_bits(steps: int) -> int:
    """Bits of an activation that has as many levels as the spike count of T steps.

    Source: Yan, Bai, Tang & Wong, arXiv 2409.08290, abstract of version 4.

    >>> matched_bits(5), matched_bits(10)
    (3, 4)
    """
    return math.ceil(math.log2(steps + 1))


@dataclass(frozen=True)
class EnergyModel:
    """Prices of operations and moved bits, in picojoules.

    Attributes:
        name: of the model, for tables.
        accumulate: one addition for a spike.
        multiply: one multiply-accumulate of numbers, both as wide as a weight; with narrower
            activations in proportion, where the model includes memory.
        update: comparison with the threshold, and reset, of one neuron at one step.
        weight_bit: reading one bit of a weight.
        state_bit: reading or writing one bit of a membrane.
        spike_bit: moving one bit of the address of a spike.
        value_bit: moving one bit of an activation of the network without spikes.
        spike_move: moving one spike to one neuron that receives it.
        value_move: moving one bit of an activation to one neuron that receives it.
        dense: the network without spikes reads and moves everything; an activation of 0 saves the
            product only.
        weight_bits: of a weight, with and without spikes.
        state_bits: of a membrane.
        assumptions: in words.

    >>> round(ARITHMETIC.spiking(synaptic=100, analog=0, updates=0, spikes=0, neurons=10), 3)
    90.0
    """

    name: str
    accumulate: float
    multiply: float
    update: float = 0.0
    weight_bit: float = 0.0
    state_bit: float = 0.0
    spike_bit: float = 0.0
    value_bit: float = 0.0
    spike_move: float = 0.0
    value_move: float = 0.0
    dense: bool = False
    weight_bits: int = 8
    state_bits: int = 16
    assumptions: str = ""

    def spiking(
        self, *, synaptic: float, analog: float, updates: float, spikes: float, neurons: int
    ) -> float:
        """Energy of a layer with spikes, for a sample.

        Args:
            synaptic: additions of weights for spikes.
            analog: multiply-accumulates of an input that is no spikes.
            updates: state variables that are read and written, over all neurons and steps.
            spikes: that arrive at the layer, each with the address of its sender.
            neurons: that may send them.
        """
        address = max(1, math.ceil(math.log2(max(neurons, 2))))
        read = self.weight_bits * self.weight_bit
        return (
            synaptic * (self.accumulate + read + self.spike_move)
            + analog * (self.multiply + read + self.weight_bits * self.value_move)
            + updates * (self.update + 2 * self.state_bits * self.state_bit)
            + spikes * address * self.spike_bit
        )

    def ordinary(
        self, *, macs: float, values: float, bits: int, synapses: float | None = None
    ) -> float:
        """Energy of the same layer with activations of ``bits`` bits instead of spikes.

        Args:
            macs: multiply-accumulates.
            values: activations that arrive.
            bits: of an activation; a product is as wide as both factors together.
            synapses: multiply-accumulates with those of activations that are 0. Default: ``macs``.
        """
        product = self.multiply * (bits / self.weight_bits) if self.weight_bit else self.multiply
        fetched = macs if synapses is None or not self.dense else synapses
        fetch = self.weight_bits * self.weight_bit + bits * self.value_move
        return macs * product + fetched * fetch + values * bits * self.value_bit

    def break_even(self, steps: int, zeros: float | None = 0.0, inputs: int = 1024) -> float:
        """Spike rate at which a fully connected layer costs as much with spikes as without.

        Args:
            steps: T.
            zeros: share of activations that are 0 in the network without spikes, and skipped.
                None: as the spike rate implies. A neuron that fires at all does so 1 to T times;
                the mean of both bounds is taken.
            inputs: of the layer, and neurons in it.

        Returns:
            Spikes per neuron and step.

        Raises:
            TypeError: ``steps`` or ``inputs`` is no whole number, or ``zeros`` no number.
            ValueError: a number is out of range.

        Source: the share of zeros: Yan, Bai, Tang & Wong, arXiv 2409.08290, theorem 2.

        >>> 0 < MEMORY.break_even(10) < MEMORY.break_even(5) < 1
        True
        >>> round(100 * NEUROMORPHIC.break_even(5, zeros=None, inputs=4096), 1)
        5.7
        """
        steps = whole("steps", steps, 1)
        inputs = whole("inputs", inputs, 1)
        if zeros is not None:
            zeros = real("zeros", zeros, 0.0, 1.0)
        synapses = inputs * inputs
        bits = matched_bits(steps)

        def ordinary(active: float) -> float:
            macs = active * synapses
            return self.ordinary(macs=macs, values=inputs, bits=bits, synapses=synapses)

        fixed = self.spiking(synaptic=0, analog=0, updates=steps * inputs, spikes=0, neurons=inputs)
        one = self.spiking(
            synaptic=steps * synapses, analog=0, updates=0, spikes=steps * inputs, neurons=inputs
        )
        if zeros is not None:
            return (ordinary(1 - zeros) - fixed) / one
        active = 2 / (1 / steps + 1)  # share of activations that are not 0, over the spike rate
        return (ordinary(0) - fixed) / (one - (ordinary(active) - ordinary(0)))


ARITHMETIC = EnergyModel(
    "arithmetic only",
    accumulate=0.9,
    multiply=4.6,
    assumptions="45 nm, 32-bit floating point, no memory (Horowitz 2014), as most papers print",
)
MEMORY = EnergyModel(
    "with memory",
    accumulate=0.05448,
    multiply=0.2,
    update=2 * 0.05448,
    weight_bit=20.3,
    state_bit=0.25,
    spike_bit=3.0,
    value_bit=0.25,
    assumptions=(
        "additions of 0.054 pJ (22 nm), 8-bit products of 0.2 pJ (Horowitz 2014), 8-bit weights in "
        "memory outside the chip at 1300 pJ per 64 bits and read for each operation, 16-bit "
        "membranes on the chip at 0.25 pJ, routed addresses of spikes at 3 pJ per bit"
    ),
)
# Yan, Bai, Tang & Wong, arXiv 2409.08290 version 4, "typical neuromorphic hardware". The prices of
# additions and moves are those of the paper. The price of a bit of a weight is the one at which the
# break-even at T = 5 is 5.39 and 6.08 % with half and with one and a half of it, as the paper
# states; a product with b bits costs b additions (assumed), and membranes cost as much as weights.
NEUROMORPHIC = EnergyModel(
    "on the chip",
    accumulate=0.05448,
    multiply=4 * 0.05448,
    update=2 * 0.05448,
    weight_bit=0.0388,
    state_bit=0.0388,
    spike_move=3.0,
    value_move=0.25,
    dense=True,
    weight_bits=4,
    state_bits=8,
    assumptions=(
        "additions of 0.054 pJ (22 nm), 4-bit weights and 8-bit membranes in memory on the chip at "
        "0.039 pJ per bit, a spike moves to each neuron that receives it for 3 pJ and a bit of an "
        "activation for 0.25 pJ; weights and moves of activations of 0 are charged"
    ),
)
