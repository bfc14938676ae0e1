"""A neuron and the linear layer with few outputs that is the only reader of its spikes.

Both run together, a few samples at a time. The spikes over time and their gradient, often the
largest tensors of a classifier, then never exist as a whole: those of a few samples are computed,
read while they are in the cache, and computed once more from the input in the backward pass. Where
the input is a product with events, it belongs to them: its gradient never exists as a whole either.
Spikes and states are those of the neuron alone; products and gradients are summed in another order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..core.transition import TRANSITIONS
from .events.linear import Events, Gradient, Product, Rows
from .layout import ordered
from .numba_cpu import Scratch, checking, given_of, last_states, prepared
from .numba_loop import Memory, compiled_backward, compiled_forward
from .pages import reused
from .scan import gradient_of, ones_of, scanned
from .second import differentiable
from .task import Call, Flow, labels, needed, task_of
from .threads import sweep

__all__ = ["SCRATCH", "read"]

SCRATCH = 2**18  # values of the samples that run at a time; with fewer, threads wait for Python


@dataclass(frozen=True)
class _Job:
    """What runs, without its tensors.

    The tensors are the input of the neuron, or input, weight and bias of a product with events;
    then states and parameters of the neuron.

    Args:
        key: of the transition, see `Transition.key`.
        constant: steps of a constant input, else 0.
        fields: number of states.
        sparse: whether the input is a product with events.
        wanted: which of the tensors need a gradient.
    """

    key: str
    constant: int
    fields: int
    sparse: bool
    wanted: tuple[bool, ...]

    @property
    def inputs(self) -> int:
        """Return the number of tensors in front of the states."""
        return 3 if self.sparse else 1

    def neuron_wants(self) -> tuple[bool, ...]:
        """Return which of the neuron's input, states and parameters need a gradient."""
        return any(self.wanted[: self.inputs]), *self.wanted[self.inputs :]

    def call(self, tensors: Sequence[Any], residual: str) -> Call:
        """Return the neuron's call for a printer."""
        x = tensors[0]
        state = tensors[self.inputs : self.inputs + self.fields]
        params = tensors[self.inputs + self.fields :]
        step = state[0] if self.sparse else x if self.constant else x[0]
        ones = ones_of(TRANSITIONS[self.key], params)
        flags = self.neuron_wants()
        task = task_of(self.key, step.dtype, ones, self.constant > 0, False, residual, flags)
        state = [ordered(s, step) for s in state]
        given = None if self.sparse else x
        return Call(task, given, self.constant or len(x), state, params, step, step.dtype)


def read(
    key: str,
    inputs: Sequence[Tensor | None],
    state: Any,
    params: Sequence[Tensor],
    num_steps: int | None,
    weight: Tensor,
    bias: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the output of the linear layer, [T, B, ..., N], and the last states, [B, ..., K].

    Args:
        key: of the neuron's transition, see `Transition.key`.
        inputs: input of the neuron, [T, B, ..., K], or [B, ..., K] with ``num_steps``; contiguous.
            Or input, weight and bias of the product with events in front of it, [T, B, ..., I],
            [K, I] and [K].
        state: initial states, [B, ..., K]; contiguous behind a product.
        params: of the neuron, in the order of the transition's names.
        num_steps: T of a constant input.
        weight: of the layer, [N, K].
        bias: of the layer, [N].
    """
    tensors = [*inputs, *state, *params]
    recording = torch.is_grad_enabled()
    wanted = tuple(recording and t is not None and t.requires_grad for t in tensors)
    job = _Job(key, num_steps or 0, len(state), len(inputs) > 1, wanted)
    if not recording:
        y, *last = _run(job, weight, bias, tensors)[0]
    else:
        y, *last = _Read.apply(job, weight, bias, *tensors)  # pyright: ignore[reportGeneralTypeIssues]
    return y, last


class _Currents:
    """A product with events, as input of a neuron: that of a few samples at a time."""

    def __init__(self, steps: int, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        self.steps = steps
        self.dtype = weight.dtype
        self.product = Product(x.flatten(0, -2), weight, bias)
        self.y = reused((len(self.product.events.x), len(weight)), weight.dtype)
        self.parts: list[tuple[int, int]] = []

    def of(self, start: int, stop: int) -> dict[str, Memory]:
        """Return the input of some samples as the loops call it."""
        samples = len(self.product.events.x) // self.steps
        rows = Rows(stop - start, samples, start, self.steps * (stop - start))
        place = self.steps * start
        self.product.write(self.y[place:], rows, place)
        self.parts.append((start, stop))
        return _part(self.y, self.steps, start, stop)


def _part(y: Tensor, steps: int, start: int, stop: int) -> dict[str, Memory]:
    """Return the input of samples ``start`` to ``stop`` for loops that count neurons from 0.

    Those of the parts follow each other in ``y``.
    """
    first = (steps - 1) * start * y.shape[1] * y.element_size()
    return {"X": Memory(y, y.data_ptr() + first, (stop - start) * y.shape[1])}


def _run(
    job: _Job, weight: Tensor, bias: Tensor | None, tensors: Sequence[Any]
) -> tuple[tuple[Tensor, ...], _Currents | None]:
    """Return output and last states, and the product in front of the neuron."""
    call = job.call(tensors, "input")
    weight = weight.detach()
    bias = None if bias is None else bias.detach()
    outputs, inputs = weight.shape
    shape = call.step.shape[:-1]
    y = weight.new_empty(call.steps, shape.numel(), outputs)
    lasts, seen = last_states(call, call.task.fields)
    given, vector = given_of(call)
    given |= seen
    currents = _Currents(call.steps, *tensors[:3]) if job.sparse else None

    def dense() -> Tensor:
        x, *rest = tensors[: job.inputs]
        return linear(x.to(weight.dtype), *rest) if rest else x

    with checking(call, given, vector, dense) as run:
        scratch = Scratch(call, ("SPK",))

        def work(start: int, stop: int) -> None:
            first, last = start * inputs, stop * inputs
            with scratch.of(first, last) as own:
                if currents is not None:
                    own |= currents.of(start, stop)
                run(given | own, call.steps, first, last, first)
                rows = own["SPK"].tensor.view(-1, inputs)
                y[:, start:stop] = linear(rows, weight, bias).view(call.steps, -1, outputs)

        _by_samples(work, shape.numel(), call.steps * inputs)
    return (y.view(call.steps, *shape, outputs), *lasts.values()), currents


def _by_samples(work: Callable[[int, int], None], samples: int, size: int) -> None:
    """Call ``work(start, stop)`` for a few samples at a time; ``size`` is the work for each."""
    sweep(work, samples, size, max(1, SCRATCH // max(1, size)))


class _Read(torch.autograd.Function):
    """Keeps the input of the neuron and computes its spikes once more."""

    @staticmethod
    def forward(ctx: Any, job: _Job, weight: Tensor, bias: Tensor | None, *tensors: Any) -> Any:
        ctx.set_materialize_grads(False)
        ctx.job = job
        found, currents = _run(job, weight, bias, tensors)
        ctx.parts = [] if currents is None else sorted(currents.parts)
        kept = [] if currents is None else [currents.y, *currents.product.events]
        ctx.save_for_backward(weight, *tensors, *kept)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        job = ctx.job
        weight, *tensors = ctx.saved_tensors
        kept = tensors[len(job.wanted) :]
        tensors = tensors[: len(job.wanted)]
        weighted, biased = ctx.needs_input_grad[1:3]
        grad = grads[0]
        db = grad.flatten(0, -2).sum(0) if biased and grad is not None else None
        if torch.is_grad_enabled():  # second derivatives are needed

            def outputs(weight: Tensor, *given: Any) -> list[Tensor]:
                x, *product = given[: job.inputs]
                x = linear(x.to(weight.dtype), *product) if product else x
                rest = given[job.inputs :]
                parts = rest[: job.fields], rest[job.fields :]
                spk, *last = scanned("numba", job.key, "input", False, x, job.constant, *parts)
                return [linear(spk, weight), *last]

            wanted = (weighted, *job.wanted)
            dw, *found = differentiable(outputs, (weight, *tensors), wanted, grads)
            return None, dw, db, *found
        call = job.call(tensors, "state")
        if grad is None:
            grad = weight.new_zeros(call.steps, *call.step.shape[:-1], len(weight))
        source = None
        if job.sparse:
            source = _Source(job, tensors, kept[0], Events(*kept[1:]), ctx.parts)
        with torch.autocast("cpu", enabled=False):
            flow = grad.flatten(1, -2), grads[1:]
            dw, found = _backward(job, call, weight, flow, source, weighted=weighted)
        names = labels(call.task.transition)[1:]
        rest = zip(names, tensors[job.inputs :], job.wanted[job.inputs :], strict=True)
        own = [gradient_of(found, name, v) if wanted else None for name, v, wanted in rest]
        first = [found.get("x")] if source is None else source.result()
        return None, dw, db, *first, *own


class _Source:
    """The backward pass of a product with events in front of a neuron, a few samples at a time.

    Args:
        job: what runs.
        tensors: of the job.
        y: the product, one part after the other.
        events: of the product's input.
        parts: first and last sample of each part.
    """

    def __init__(
        self, job: _Job, tensors: Any, y: Tensor, events: Events, parts: list[tuple[int, int]]
    ) -> None:
        x, self.weight, _ = tensors[:3]
        self.wanted = job.wanted[:3]
        self.events = events
        self.y = y
        self.parts = parts
        self.shape = x.shape
        self.dx = x.new_empty(len(x), x[0, ..., 0].numel(), x.shape[-1]) if self.wanted[0] else None
        self.whole = Gradient(events, self.weight, biased=self.wanted[2])
        self.total = _Total(self.whole.dw, self.whole.db)
        self.free: list[Gradient] = []  # threads use them again, since fresh memory costs time

    def input_of(self, start: int, stop: int) -> dict[str, Memory]:
        """Return the input of some samples as the loops call it."""
        return _part(self.y, self.shape[0], start, stop)

    def add(self, start: int, stop: int, grad: Tensor) -> None:
        """Add what some samples contribute; ``grad`` is the gradient of their product."""
        steps = self.shape[0]
        grad = grad.view(-1, len(self.weight))
        samples = len(self.events.x) // steps
        if any(self.wanted[1:]):
            part = self._part()
            rows = Rows(stop - start, samples, start, steps * (stop - start))
            part.add(grad, rows, steps * start)
            self.total.add(start, stop, part.dw, part.db, done=lambda: self._done(part))
        if self.dx is not None:
            self.dx[:, start:stop] = (grad @ self.weight).view(steps, stop - start, -1)

    def _part(self) -> Gradient:
        if self.free:
            return self.free.pop()
        return Gradient(self.events, self.weight, biased=self.wanted[2])

    def _done(self, part: Gradient) -> None:
        part.dw.zero_()
        part.db.zero_()
        self.free.append(part)

    def result(self) -> list[Tensor | None]:
        """Return the gradients of input, weight and bias; None where one is not needed."""
        found = [None if self.dx is None else self.dx.view(self.shape), *self.whole.result()]
        return [v if wanted else None for v, wanted in zip(found, self.wanted, strict=True)]


def _backward(
    job: _Job, call: Call, weight: Tensor, flow: Any, source: _Source | None, *, weighted: bool
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return the gradient of the weight, and those of the neuron by the names of `labels`.

    Args:
        job: what runs.
        call: of the neuron; its residual is ``"state"``.
        weight: of the linear layer, [N, K].
        flow: gradient of the output, [T, samples, N], and those of the last states, None where
            there is none.
        source: the product in front of the neuron, which receives the gradient of its input.
        weighted: whether the gradient of the weight is needed.
    """
    task = call.task
    steps = call.steps
    inputs = weight.shape[1]
    grad, ends = flow
    names = needed(task.transition, job.neuron_wants())
    requested = tuple(n for n in names if n[0] != "s")
    whole = requested if source is None else tuple(n for n in requested if n != "x")
    known_ends = {f: g for f, g in zip(task.fields, ends, strict=True) if g is not None}
    nothing = [None] * len(task.fields)
    given, vector, found = prepared(call, Flow([None, *nothing], known_ends, whole))
    given |= last_states(call, task.lasts)[1]
    again = compiled_forward(task, vector, True)
    flows = (True, *map(bool, nothing))
    back = compiled_backward(task, vector, flows, requested) if names else None
    weight = weight.detach()
    total = _Total(torch.zeros_like(weight))
    alone = () if source is None else ("D_x",)
    scratch = Scratch(call, ("SPK", *alone, *(f"N_{f}" for f in task.paths)))

    def work(start: int, stop: int) -> None:
        first, last = start * inputs, stop * inputs
        with scratch.of(first, last) as own:
            if source is not None:
                own |= source.input_of(start, stop)
            again(given | own, steps, first, last, first)
            rows = grad[:, start:stop].flatten(0, 1)
            spikes = own["SPK"].tensor.view(-1, inputs)
            if weighted:
                total.add(start, stop, rows.t() @ spikes)
            if back is not None:
                torch.mm(rows, weight, out=spikes)  # the spikes are not needed any more
                own["E_spk"] = own["SPK"]
                back(given | own, steps, first, last, first)
                if source is not None:
                    source.add(start, stop, own["D_x"].tensor)

    if source is None:
        _by_samples(work, grad.shape[1], steps * inputs * (1 + len(task.paths)))
    else:
        parts = source.parts
        sweep(lambda i, _: work(*parts[i]), len(parts), steps * inputs * parts[0][1], 1)
    return total.values[0] if weighted else None, found


class _Total:
    """Adds parts in the order of their samples, whichever thread has the first one.

    A part waits only while an earlier one is computed.
    """

    def __init__(self, *values: Tensor) -> None:
        self.values = values
        self.next = 0
        self.waiting: dict[int, tuple[int, Sequence[Tensor], Callable[[], None]]] = {}
        self.lock = Lock()

    def add(
        self, start: int, stop: int, *parts: Tensor, done: Callable[[], None] = lambda: None
    ) -> None:
        """Add the parts of samples ``start`` to ``stop``, then call ``done``."""
        with self.lock:
            self.waiting[start] = stop, parts, done
            while self.next in self.waiting:
                self.next, ready, after = self.waiting.pop(self.next)
                for value, part in zip(self.values, ready, strict=True):
                    value += part
                after()
