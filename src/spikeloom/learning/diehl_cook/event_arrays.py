"""The arrays and numbers that the loops of the event-driven engine work on, by name."""

from typing import Any, NamedTuple

__all__ = ["Coefficients", "Events", "Functions", "Learned", "Numbers", "Traces", "Work"]


class Numbers(NamedTuple):
    """Constants of the network, for one step."""

    gain: Any
    excitation: Any
    inhibition: Any
    one_winner: bool
    theta_plus: Any
    theta_rest: Any
    levels: Any
    rate: float
    boost: float
    steps: int
    retries: int
    min_spikes: int
    norm: Any
    theta_row: int  # of the states of the excitatory neurons
    exc: Any  # what the excitatory neurons read
    inh: Any  # what the inhibitory ones read


class Functions(NamedTuple):
    """What is printed from the neurons, see `printed.Cell`, and from a rule, if the loops learn."""

    exc_excess: Any
    exc_rests: Any
    exc_fires: Any
    inh_excess: Any
    inh_rests: Any
    inh_fires: Any
    plasticity: Any = 0
    trace: Any = 0


class Coefficients(NamedTuple):
    """What the function that is printed from a rule reads."""

    tables: Any  # [traces, T + 1], what is left of a trace after each number of steps
    k: Any  # its constants
    w_min: Any
    w_max: Any
    by_input: bool  # spikes of an input change weights
    everywhere: bool  # also those of neurons that have not fired


class Learned(NamedTuple):
    """What lasts."""

    w: Any  # [inputs, N]
    theta: Any  # [N]


class Work(NamedTuple):
    """States of the neurons of B samples in a presentation, M = B N."""

    exc: Any  # [states, M]
    inh: Any  # [M, states, 1], as they were at ``inh_at``
    inh_at: Any  # [M], the last step that ``inh`` includes
    x: Any  # [M], input of the excitatory neurons
    drive: Any  # [1], input of an inhibitory one
    answers: Any  # [M], inhibitory spikes of the step before
    over: Any  # [M], how far above its threshold a neuron is
    fresh: Any  # [states, M], states of neurons that fire
    fired: Any  # [M], who fires, as a list
    count: Any  # [M], spikes in this presentation
    size: Any  # [B], number of inhibitory spikes of the step before


class Traces(NamedTuple):
    """Traces of a rule in a presentation."""

    pre: Any  # [traces, inputs], as they were at ``pre_at``
    pre_at: Any  # [inputs], step of the last spike
    post: Any  # [traces, N]
    post_at: Any  # [N]
    learners: Any  # [N], neurons whose weights change, as a list
    size: Any  # [1], their number
    aside: Any  # [inputs], weights that wait to be written


class Events(NamedTuple):
    """Input spikes sorted by time, and what sorting needs."""

    start: Any  # [T + 1] where each step begins
    sorted: Any  # inputs that spike
    place: Any
    when: Any
    which: Any
