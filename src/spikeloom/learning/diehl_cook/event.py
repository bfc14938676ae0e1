"""The event-driven engine: one image after the other, every change at its spike, compiled by numba
(extra ``cpu``).

The loops are in `event_loop`; this file turns a network into the arrays that they work on, and
back.
"""

import inspect
import re
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.checks import require
from ...kernels.sources import compiled_module
from ..stdp import Exponential, PostPre, PowerLaw, Rule, Triplet
from . import batch_loop, event_loop
from .event_arrays import Coefficients, Events, Learned, Numbers, Work

__all__ = ["Batch", "drawn", "loop_refusal", "presented", "refusal", "show"]

NEVER = event_loop.NEVER
f32 = np.float32


@cache
def compiled() -> ModuleType:
    """The loops, compiled; machine code is kept on disk."""
    require("numba", extra="cpu", purpose='engine="event"')
    source, rest = inspect.getsource(event_loop), inspect.getsource(batch_loop)
    first = "from __future__ import annotations\n"
    source = source.replace(first, f"{first}import numba\nfrom {Work.__module__} import Work\n")
    source += (
        "\n" + rest[rest.index("\ndef ") :]
    )  # without its imports: it stands in the same file now
    jit = "@numba.njit(nogil=True, error_model='numpy', cache=CACHE)\ndef "
    return compiled_module(re.sub(r"^def ", jit, source, flags=re.MULTILINE))


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
    if type(net.rule) not in (PowerLaw, PostPre, Exponential, Triplet):
        return f"it knows PowerLaw, PostPre, Exponential and Triplet, not {type(net.rule).__name__}"
    return loop_refusal(net)


def coefficients(rule: Rule, steps: int) -> Coefficients:
    """The numbers of a rule."""

    def table(tau: float) -> np.ndarray:
        return np.exp(-np.arange(steps + 1) / tau).astype(f32)

    slow = rule.tau_slow if isinstance(rule, Triplet) else 1.0
    bare = Coefficients(
        x_table=table(rule.tau_pre),
        y_table=table(rule.tau_post),
        z_table=table(slow),
        additive=rule.pairs == "all",
        w_min=f32(rule.w_min),
        w_max=f32(rule.w_max),
        triplet=isinstance(rule, Triplet),
        exponential=isinstance(rule, Exponential),
    )
    given: dict[str, Any] = {
        "nu_post": getattr(rule, "alpha", getattr(rule, "nu_post", 0.0)),
        "mu_post": getattr(rule, "mu", getattr(rule, "mu_post", 0.0)),
        **{name: getattr(rule, name, 0.0) for name in ("x_tar", "nu_pre", "mu_pre", "beta")},
    }
    return bare._replace(**{name: f32(value) for name, value in given.items()})


def numbers(net: Any, steps: int, samples: int = 1) -> Numbers:
    """The constants of a network; theta decays in presented time, hence for all samples of a
    step."""
    c, exc, inh = net.constants, net.exc.neuron, net.inh.neuron
    return Numbers(
        exc_decay=f32(exc.beta.item()),
        gain=f32(c.gain),
        inhibition=f32(c.inh),
        threshold=f32(exc.threshold.item() - exc.theta_offset.item()),
        one_winner=c.winner == "one",
        exc_reset=f32(exc.reset_to.item()),
        exc_refractory=int(exc.refractory_steps),
        theta_plus=f32(c.theta_plus),
        theta_rest=f32(c.theta_rest),
        levels=np.exp(-samples * c.dt / c.tc_theta * np.arange(1, steps + 1)).astype(f32),
        inh_table=(inh.beta.item() ** np.arange(steps + 1)).astype(f32),
        excitation=f32(c.exc),
        inh_threshold=f32(inh.threshold.item()),
        inh_reset=f32(inh.reset_to.item()),
        inh_refractory=int(inh.refractory_steps),
        rate=c.probability(0),
        boost=c.boost * c.dt / 1000,
        steps=steps,
        retries=c.retries,
        min_spikes=c.min_spikes,
        norm=f32(c.norm),
    )


def work(inputs: int, neurons: int, *samples: int) -> Work:
    """Arrays for a presentation, at rest; with one more axis for ``samples``."""
    n, i, long = neurons, inputs, np.int64
    sizes = {"x": i, "x_at": i, "size": 3}
    kinds = dict.fromkeys(
        ("seen", "quiet", "inh_quiet", "x_at", "y_at", "size", "held", "fired", "inhibitors"), long
    )
    kinds |= {"learners": long, "count": np.int32}
    state = Work(
        *(np.zeros((*samples, sizes.get(name, n)), kinds.get(name, f32)) for name in Work._fields)
    )
    for name in ("seen", "quiet", "inh_quiet", "x_at", "y_at"):
        getattr(state, name)[:] = NEVER
    return state


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
    """Present images one after the other; as for `batched.show`, with ``batch`` and ``chunk`` equal
    to 1."""
    steps, loops, learned = net.constants.steps, compiled(), opened(net)
    counts = np.zeros((len(x), net.neurons), np.int32)
    loops.show(
        learned,
        work(net.inputs, net.neurons),
        numbers(net, steps),
        coefficients(net.rule, steps),
        events(net.inputs, steps),
        np.ascontiguousarray(x.numpy(), f32),
        seeds.numpy().astype(np.uint64),
        counts,
        learn,
    )
    if learn:
        closed(net, learned)
    return torch.from_numpy(counts)


def presented(net: Any, spikes: Tensor, learn: bool) -> tuple[Tensor, Tensor]:
    """Present given spikes [T, inputs] from rest; returns counts and membranes, [N] each.

    Where it learns, weights and thresholds have changed afterwards; the weights are not normalised.
    """
    steps, loops, learned = len(spikes), compiled(), opened(net)
    when, which = (spikes != 0).nonzero(as_tuple=True)
    ev, state = events(net.inputs, steps), work(net.inputs, net.neurons)
    ev.start[1:] = np.cumsum(np.bincount(when.numpy(), minlength=steps))
    ev.sorted[: len(which)] = which.numpy()
    loops.present(
        learned, state, numbers(net, steps), coefficients(net.rule, steps), ev, steps, learn
    )
    if learn:
        closed(net, learned)
    return torch.from_numpy(state.count), torch.from_numpy(state.mem)


def drawn(x: Tensor, seeds: np.ndarray, per_step: float, steps: int) -> Tensor:
    """Bernoulli spikes [T, B, inputs] of probability ``x * per_step``, as `show` draws them; moves
    ``seeds`` on."""
    spikes = torch.zeros(steps, *x.shape)
    images = np.ascontiguousarray(x.numpy(), f32)
    compiled().write(images, seeds, per_step, steps, events(x.shape[1], steps), spikes.numpy())
    return spikes


class Batch:
    """What the batched engine has compiled: the drive of sparse spikes, and the loop over time on
    [B, N].

    Args:
        net: a `DiehlAndCook2015`.
        samples: B.
        steps: of the whole presentation.
        learn: whether thresholds move.
    """

    def __init__(self, net: Any, samples: int, steps: int, learn: bool) -> None:
        self.learned = Learned(np.zeros((0, 0), f32), net.exc.theta.numpy().copy())
        self.work, self.numbers = work(0, net.neurons, samples), numbers(net, steps, samples)
        self.loops, self.learn, self.done = compiled(), learn, 0

    def run(self, spikes: Tensor, weight: Tensor, gain: float) -> Tensor:
        """Excitatory spikes for the input spikes of some steps, [T, B, inputs]."""
        drive = spikes.new_zeros(*spikes.shape[:2], len(weight))
        rows, w = spikes.flatten(0, 1).numpy(), weight.detach().numpy().T.copy()
        self.loops.product(rows, w, f32(gain), drive.flatten(0, 1).numpy())
        train = torch.zeros_like(drive)
        self.loops.batch(
            self.learned,
            self.work,
            self.numbers,
            drive.numpy(),
            train.numpy(),
            self.done,
            self.learn,
        )
        self.done += len(drive)
        return train

    @property
    def theta(self) -> Tensor:
        """Thresholds as they are now, [N]."""
        return torch.from_numpy(
            self.learned.theta * (self.numbers.levels[self.done - 1] if self.learn else f32(1))
        )

    @property
    def mem(self) -> Tensor:
        """Membranes of the excitatory neurons, [B, N]."""
        return torch.from_numpy(self.work.mem)
