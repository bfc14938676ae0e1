"""The arrays that the event loops work on, by name."""

from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Arrivals",
    "Course",
    "Events",
    "Gradients",
    "Neurons",
    "Recurrence",
    "Spikes",
    "Wide",
    "arrivals",
    "course",
    "gradients",
    "spikes",
    "wide",
]

ABREAST = 8  # neurons from which vector instructions pay


class Events(NamedTuple):
    """Input spikes of a batch, sample after sample, each sample in the order of time."""

    start: Any  # [B + 1], where a sample begins
    time: Any  # [events]
    source: Any  # [events], which input
    value: Any  # [events], factor of the weight


class Neurons(NamedTuple):
    """What a layer of neurons is."""

    weight: Any  # [J, I]
    delay: Any  # [J, I], or empty
    tau_m: Any  # [J]
    tau_s: Any  # [J]
    theta: Any  # [J]
    until: float
    limit: int  # spikes after which a neuron falls silent for good
    shared: bool  # events reach all neurons at the same time, with the same time constants
    slope_floor: float  # in units of theta / tau_m


class Recurrence(NamedTuple):
    """Synapses within a layer."""

    weight: Any  # [J, J]
    delay: float


class Arrivals(NamedTuple):
    """The events of a batch as one neuron receives them, and its state; scratch."""

    count: Any  # [B], events before the end
    place: Any  # [events], number of the event
    time: Any  # [events]
    source: Any  # [events]
    value: Any  # [events]
    decay_m: Any  # [events], of V until the next event
    decay_s: Any  # [events], of I
    share: Any  # [events], of I that arrives in V
    v: Any  # [nodes] of one sample: V after an event or a spike; empty if not requested
    i: Any


class Wide(NamedTuple):
    """Neurons side by side; scratch. Empty where each goes by itself."""

    weight: Any  # [I, J]
    theta: Any  # [J]
    v: Any  # [J]
    i: Any
    v_end: Any  # [J], of those that may have fired
    i_end: Any
    count: Any  # [J], spikes so far
    who: Any  # [J], which ones may have fired


class Spikes(NamedTuple):
    """Output spikes of a batch."""

    time: Any  # [B, J, room], infinity where there is none
    current: Any  # [B, J, room], I at the spike
    after: Any  # [B, J, room], how many events came before


class Course(NamedTuple):
    """What happens in one sample of a recurrent layer, and the state of its neurons; scratch."""

    what: Any  # [nodes], input, arrival or spike
    which: Any  # [nodes], which one
    time: Any  # [nodes]
    fired: Any  # [spikes], who
    fired_as: Any  # [spikes], its how many-th
    fired_at: Any  # [spikes]
    pull: Any  # [spikes], gradient of the time of the spike from within the layer
    v: Any  # [J]
    i: Any  # [J]
    lv: Any  # [J], adjoint of V
    li: Any  # [J], adjoint of I
    last: Any  # [J], moment that these belong to
    cross: Any  # [J], next spike
    number: Any  # [J], spikes so far
    seen: Any  # [4], the last interval, its decays and its share
    traced_v: Any  # [nodes, J], V after a node; empty if not requested
    traced_i: Any  # [nodes, J]


class Gradients(NamedTuple):
    """Gradients of the loss, to be added to."""

    weight: Any  # [J, I]
    delay: Any  # [J, I], or empty
    time: Any  # [events], or empty
    tau_m: Any  # [J]
    tau_s: Any  # [J]
    theta: Any  # [J]
    recurrent: Any  # [J, J], or empty
    wait: Any  # [1], of the recurrent delay


def arrivals(samples: int, events: int, nodes: int) -> Arrivals:
    """Scratch arrays."""
    count, place, source = (np.zeros(size, np.int64) for size in (samples, events, events))
    time, value, decay_m, decay_s, share = (np.zeros(events) for _ in range(5))
    return Arrivals(
        count, place, time, source, value, decay_m, decay_s, share, np.zeros(nodes), np.zeros(nodes)
    )


def wide(one: Neurons) -> Wide:
    """Room for neurons side by side, if events reach them at the same time and they are many."""
    size = len(one.weight) if one.shared and len(one.weight) >= ABREAST else 0
    weight = np.ascontiguousarray(one.weight.T) if size else np.zeros((0, 0))
    return Wide(
        weight,
        one.theta[:size],
        *(np.zeros(size) for _ in range(4)),
        *(np.zeros(size, np.int64) for _ in range(2)),
    )


def spikes(samples: int, neurons: int, room: int) -> Spikes:
    """Room for the spikes of a layer."""
    shape = (samples, neurons, room)
    return Spikes(np.full(shape, np.inf), np.zeros(shape), np.zeros(shape, np.int32))


def gradients(one: Neurons, events: int, recurrent: bool = False) -> Gradients:
    """Zeros of the right shapes."""
    neurons = len(one.weight)
    square = np.zeros((neurons, neurons) if recurrent else (0, 0))
    tau_m, tau_s, theta = (np.zeros(neurons) for _ in range(3))
    weight, delay, time = np.zeros_like(one.weight), np.zeros_like(one.delay), np.zeros(events)
    return Gradients(weight, delay, time, tau_m, tau_s, theta, square, np.zeros(1))


def course(neurons: int, events: int, room: int, traced: bool) -> Course:
    """Room for the course of a sample."""
    fired = neurons * room
    nodes = events + 2 * fired + 2
    sizes = (nodes,) * 3 + (fired,) * 4 + (neurons,) * 7 + (4,)
    whole = {0, 1, 3, 4, 13}
    flat = [np.zeros(size, np.int64 if n in whole else np.float64) for n, size in enumerate(sizes)]
    shape = (nodes, neurons) if traced else (0, 0)
    return Course(*[*flat, np.zeros(shape), np.zeros(shape)])
