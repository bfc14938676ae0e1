"""The event-driven engine: one image at a time, changes at spikes, compiled by numba.

It needs the extra ``cpu``.

The loops are in `event_loop`; `printed` prints the neurons and the rule for them. This file turns a
network into the arrays that they work on, and back.
"""

from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core.checks import require
from ...kernels.sources import compiled_library, first_class
from ..stdp import Rule
from ..stdp.spike_form import SpikeForm, spike_form
from . import batch_loop, event_loop
from .event_arrays import Coefficients, Events, Functions, Learned, Numbers, Traces, Work
from .printed import Cell, cell_of, plasticity_source

__all__ = ["Batch", "drawn", "loop_refusal", "presented", "refusal", "show"]

NEVER = event_loop.NEVER
f32 = np.float32


@cache
def compiled() -> ModuleType:
    """The loops, compiled; machine code is cached on disk."""
    require("numba", extra="cpu", purpose='engine="event"')
    return compiled_library(event_loop, batch_loop)


def loop_refusal(net: Any) -> str:
    """Why the compiled loops do not serve a network; empty if they do."""
    try:
        require("numba", extra="cpu", purpose='engine="event"')
    except ImportError as error:
        return str(error)
    if net.constants.synapses != "current":
        return "it knows current-based synapses only"
    if net.xe.weight.device.type != "cpu" or net.xe.weight.dtype != torch.float32:
        return "it runs on the CPU in float32"
    return ""


def refusal(net: Any) -> str:
    """Why this engine does not serve a network; empty if it does."""
    form = _form(net.rule)
    if isinstance(form, str):
        return f"{type(net.rule).__name__} is not event-driven, {form}"
    return loop_refusal(net)


class _Same(NamedTuple):
    """A rule as a key, by identity: rules of users may hold what equality does not compare."""

    rule: Rule

    def __hash__(self) -> int:
        return id(self.rule)

    def __eq__(self, other: Any) -> bool:
        return self.rule is other.rule


def _form(rule: Rule) -> SpikeForm | str:
    return _printed(_Same(rule))[0]


@lru_cache(maxsize=64)
def _printed(same: _Same) -> tuple[SpikeForm | str, str, np.ndarray]:
    """The form of a rule, its text and the constants of that."""
    form = spike_form(same.rule)
    if isinstance(form, str):
        return form, "", np.zeros(0, f32)
    return form, *plasticity_source(form, NEVER)


def _numbers(net: Any, exc: Cell, inh: Cell, steps: int, samples: int) -> Numbers:
    """The constants of a network; theta decays in presented time, once for all samples."""
    c = net.constants
    return Numbers(
        gain=f32(c.gain),
        excitation=f32(c.exc),
        inhibition=f32(c.inh),
        one_winner=c.winner == "one",
        theta_plus=f32(c.theta_plus),
        theta_rest=f32(c.theta_rest),
        levels=np.exp(-samples * c.dt / c.tc_theta * np.arange(1, steps + 1)).astype(f32),
        rate=c.probability(0),
        boost=c.boost * c.dt / 1000,
        steps=steps,
        retries=c.retries,
        min_spikes=c.min_spikes,
        norm=f32(c.norm),
        theta_row=exc.fields.index("theta"),
        exc=exc.k,
        inh=inh.k,
    )


class Machine(NamedTuple):
    """A network as the loops take it."""

    learned: Learned  # a copy, with the weights transposed
    work: Work
    numbers: Numbers
    functions: Functions


def machine(net: Any, learned: Learned, steps: int, samples: int = 1) -> Machine:
    """Arrays and functions of a network, at rest.

    Args:
        net: a `DiehlAndCook2015`.
        learned: its weights and thresholds.
        steps: of a presentation.
        samples: presented together; they share thresholds.
    """
    circuit = net.circuit(1, learn=False)
    exc = cell_of(net.exc.neuron, circuit.p_exc)
    inh = cell_of(net.inh.neuron, circuit.p_inh)
    functions = Functions(exc.excess, exc.rests, exc.fires, inh.excess, inh.rests, inh.fires)
    size = samples * net.neurons
    rows = len(exc.fields)
    work = Work(
        exc=np.zeros((rows, size), f32),
        inh=np.zeros((size, len(inh.fields), 1), f32),
        inh_at=np.full(size, NEVER),
        x=np.zeros(size, f32),
        drive=np.zeros(1, f32),
        answers=np.zeros(size, f32),
        over=np.zeros(size, f32),
        fresh=np.zeros((max(rows, len(inh.fields)), size), f32),
        fired=np.zeros(size, np.int64),
        count=np.zeros(size, np.int32),
        size=np.zeros(samples, np.int64),
    )
    return Machine(learned, work, _numbers(net, exc, inh, steps, samples), functions)


def _traces(net: Any, form: SpikeForm) -> Traces:
    """The traces of a rule before a presentation."""
    n = net.neurons
    inputs = net.inputs
    return Traces(
        pre=np.zeros((len(form.pre), inputs), f32),
        pre_at=np.full(inputs, NEVER),
        post=np.zeros((len(form.post), n), f32),
        post_at=np.full(n, NEVER),
        learners=np.zeros(n, np.int64),
        size=np.zeros(1, np.int64),
        aside=np.zeros(inputs, f32),
    )


def _coefficients(rule: Rule, form: SpikeForm, k: np.ndarray, steps: int) -> Coefficients:
    ages = np.arange(steps + 1)
    tables = [form.decays[trace] ** ages for trace in (*form.pre, *form.post)]
    return Coefficients(
        tables=np.array(tables, f32).reshape(-1, steps + 1),
        k=k,
        w_min=f32(rule.w_min),
        w_max=f32(rule.w_max),
        by_input=form.changes[1, 0] is not None,
        everywhere=form.everywhere,
    )


def events(inputs: int, steps: int) -> Events:
    """Room for at most one spike of each input in each step."""
    room = inputs * steps
    return Events(
        np.zeros(steps + 1, np.int64), *(np.zeros(n, np.int32) for n in (room, steps, room, room))
    )


def opened(net: Any) -> Learned:
    """Copies of what is learned, with the weights the other way round."""
    return Learned(net.xe.weight.detach().numpy().T.copy(), net.exc.theta.numpy().copy())


def closed(net: Any, learned: Learned) -> None:
    """Write what was learned back into the network."""
    with torch.no_grad():
        net.xe.weight.copy_(torch.from_numpy(learned.w.T))
    net.exc.theta = torch.from_numpy(learned.theta)


def show(net: Any, x: Tensor, seeds: Tensor, learn: bool, batch: int, chunk: int | None) -> Tensor:
    """Present images one by one; as `batched.show` with ``batch`` and ``chunk`` equal to 1."""
    steps = net.constants.steps
    counts = np.zeros((len(x), net.neurons), np.int32)
    images = np.ascontiguousarray(x.numpy(), f32)
    _apply(
        net,
        events(net.inputs, steps),
        steps,
        learn,
        images,
        seeds.numpy().astype(np.uint64),
        counts,
    )
    return torch.from_numpy(counts)


def presented(net: Any, spikes: Tensor, learn: bool) -> tuple[Tensor, Tensor]:
    """Present given spikes [T, inputs] from rest; returns counts and membranes, [N] each.

    Where it learns, weights and thresholds have changed afterwards; the weights are not normalised.
    """
    steps = len(spikes)
    when, which = (spikes != 0).nonzero(as_tuple=True)
    ev = events(net.inputs, steps)
    ev.start[1:] = np.cumsum(np.bincount(when.numpy(), minlength=steps))
    ev.sorted[: len(which)] = which.numpy()
    state = _apply(net, ev, steps, learn)
    return torch.from_numpy(state.count), membranes(net, state)


def _apply(net: Any, ev: Events, steps: int, learn: bool, *images: np.ndarray) -> Work:
    """Run `event_loop.show` on images, or `event_loop.present` on the spikes of ``ev``."""
    from numba import typeof, types

    form, source, constants = _printed(_Same(net.rule))
    assert isinstance(form, SpikeForm)  # `refusal` has checked it
    learned, work, numbers, functions = machine(net, opened(net), steps)
    rule = _coefficients(net.rule, form, constants, steps)
    traces = _traces(net, form)
    rows = ev.sorted[:0]
    at_spikes = (learned.w, traces, rule, rows, work.fired)
    at_inputs = (rows, traces.pre, traces.pre_at, rule.tables, rule.k)
    signature = (*(typeof(each) for each in at_spikes), types.int64, types.int64)
    functions = functions._replace(
        plasticity=first_class(source, "plasticity", signature),
        trace=first_class(source, "trace", (*(typeof(each) for each in at_inputs), types.int64)),
    )
    given = (learned, work, numbers, functions, rule, traces, ev)
    if images:
        compiled().show(*given, *images, learn)
    else:
        compiled().present(*given, steps, learn)
    if learn:
        closed(net, learned)
    return work


def membranes(net: Any, state: Work) -> Tensor:
    """Membranes of the excitatory neurons of all samples, [B N]."""
    row = net.exc.neuron.State._fields.index("mem")
    return torch.from_numpy(state.exc[row])


def drawn(x: Tensor, seeds: np.ndarray, per_step: float, steps: int) -> Tensor:
    """Bernoulli spikes [T, B, inputs] of probability ``x * per_step``, drawn as by `show`.

    Advances ``seeds``.
    """
    spikes = torch.zeros(steps, *x.shape)
    images = np.ascontiguousarray(x.numpy(), f32)
    compiled().write(images, seeds, per_step, steps, events(x.shape[1], steps), spikes.numpy())
    return spikes


class Batch:
    """Compiled parts of the batched engine: drive by sparse spikes, loop over time on [B, N].

    Args:
        net: a `DiehlAndCook2015`.
        samples: B.
        steps: of the whole presentation.
        learn: whether thresholds move.
    """

    def __init__(self, net: Any, samples: int, steps: int, learn: bool) -> None:
        none = Learned(np.zeros((0, 0), f32), net.exc.theta.numpy().copy())
        self.machine = machine(net, none, steps, samples)
        self.net = net
        self.loops = compiled()
        self.learn = learn
        self.done = 0

    def run(self, spikes: Tensor, weight: Tensor, gain: float) -> Tensor:
        """Excitatory spikes for the input spikes of some steps, [T, B, inputs]."""
        drive = spikes.new_zeros(*spikes.shape[:2], len(weight))
        rows = spikes.flatten(0, 1).numpy()
        w = weight.detach().numpy().T.copy()
        self.loops.product(rows, w, f32(gain), drive.flatten(0, 1).numpy())
        train = torch.zeros_like(drive)
        flat = (each.flatten(1).numpy() for each in (drive, train))
        self.loops.batch(*self.machine, *flat, self.done, self.learn)
        self.done += len(drive)
        return train

    @property
    def theta(self) -> Tensor:
        """Thresholds as they are now, [N]."""
        level = self.machine.numbers.levels[self.done - 1] if self.learn else f32(1)
        return torch.from_numpy(self.machine.learned.theta * level)

    @property
    def mem(self) -> Tensor:
        """Membranes of the excitatory neurons, [B, N]."""
        return membranes(self.net, self.machine.work).reshape(-1, self.net.neurons)
