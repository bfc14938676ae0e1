"""A neuron and the linear layer with few outputs that is the only reader of its spikes.

Both run together, a few samples at a time. The spikes over time and their gradient, often the
largest tensors of a classifier, then never exist as a whole: those of a few samples are computed,
read while they are in the cache, and computed once more from the input in the backward pass.
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
from .layout import ordered
from .numba_cpu import Scratch, checking, given_of, last_states, prepared
from .numba_loop import compiled_backward, compiled_forward
from .scan import gradient_of, ones_of, scanned
from .second import differentiable
from .task import Call, Flow, labels, needed, task_of
from .threads import sweep

__all__ = ["read"]

SCRATCH = 2**19  # values of the samples that run at a time; with fewer, threads wait for Python


@dataclass(frozen=True)
class _Job:
    """What runs, without its tensors.

    Args:
        key: of the transition, see `Transition.key`.
        constant: steps of a constant input, else 0.
        fields: number of states.
        wanted: which of input, states and parameters need a gradient.
    """

    key: str
    constant: int
    fields: int
    wanted: tuple[bool, ...]

    def call(self, tensors: Sequence[Tensor], residual: str) -> Call:
        """Return the neuron's call for a printer; ``tensors`` are input, states, parameters."""
        x = tensors[0]
        state = tensors[1 : 1 + self.fields]
        params = tensors[1 + self.fields :]
        step = x if self.constant else x[0]
        ones = ones_of(TRANSITIONS[self.key], params)
        task = task_of(self.key, x.dtype, ones, self.constant > 0, False, residual, self.wanted)
        state = [ordered(s, step) for s in state]
        return Call(task, x, self.constant or len(x), state, params, step, x.dtype)


def read(
    key: str,
    x: Tensor,
    state: Any,
    params: Sequence[Tensor],
    num_steps: int | None,
    weight: Tensor,
    bias: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the output of the linear layer, [T, B, ..., N], and the last states, [B, ..., K].

    Args:
        key: of the neuron's transition, see `Transition.key`.
        x: input of the neuron, [T, B, ..., K], or [B, ..., K] with ``num_steps``; contiguous.
        state: initial states, [B, ..., K].
        params: of the neuron, in the order of the transition's names.
        num_steps: T of a constant input.
        weight: of the layer, [N, K].
        bias: of the layer, [N].
    """
    tensors = [x, *state, *params]
    recording = torch.is_grad_enabled()
    wanted = tuple(t.requires_grad and recording for t in tensors)
    job = _Job(key, num_steps or 0, len(state), wanted)
    run: Any = _Read.apply if recording else _run
    y, *last = run(job, weight, bias, *tensors)
    return y, last


def _run(job: _Job, weight: Tensor, bias: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    call = job.call(tensors, "input")
    weight = weight.detach()
    bias = None if bias is None else bias.detach()
    outputs, inputs = weight.shape
    shape = call.step.shape[:-1]
    y = weight.new_empty(call.steps, shape.numel(), outputs)
    lasts, seen = last_states(call, call.task.fields)
    given, vector = given_of(call)
    given |= seen
    with checking(call, given, vector) as run:
        scratch = Scratch(call, ("SPK",))

        def work(start: int, stop: int) -> None:
            first, last = start * inputs, stop * inputs
            with scratch.of(first, last) as own:
                run(given | own, call.steps, first, last, first)
                rows = own["SPK"].tensor.view(-1, inputs)
                y[:, start:stop] = linear(rows, weight, bias).view(call.steps, -1, outputs)

        _by_samples(work, shape.numel(), call.steps * inputs)
    return y.view(call.steps, *shape, outputs), *lasts.values()


def _by_samples(work: Callable[[int, int], None], samples: int, size: int) -> None:
    """Call ``work(start, stop)`` for a few samples at a time; ``size`` is the work for each."""
    sweep(work, samples, size, max(1, SCRATCH // max(1, size)))


class _Read(torch.autograd.Function):
    """Keeps the input of the neuron and computes its spikes once more."""

    @staticmethod
    def forward(ctx: Any, job: _Job, weight: Tensor, bias: Tensor | None, *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.job = job
        ctx.save_for_backward(weight, *tensors)
        return _run(job, weight, bias, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        job = ctx.job
        weight, *tensors = ctx.saved_tensors
        weighted, biased = ctx.needs_input_grad[1:3]
        grad = grads[0]
        db = grad.flatten(0, -2).sum(0) if biased and grad is not None else None
        if torch.is_grad_enabled():  # second derivatives are needed

            def outputs(weight: Tensor, x: Tensor, *rest: Tensor) -> list[Tensor]:
                parts = rest[: job.fields], rest[job.fields :]
                spk, *last = scanned("numba", job.key, "input", False, x, job.constant, *parts)
                return [linear(spk, weight), *last]

            wanted = (weighted, *job.wanted)
            dw, *found = differentiable(outputs, (weight, *tensors), wanted, grads)
            return None, dw, db, *found
        call = job.call(tensors, "state")
        if grad is None:
            grad = weight.new_zeros(call.steps, *call.step.shape[:-1], len(weight))
        with torch.autocast("cpu", enabled=False):
            dw, found = _backward(job, call, weight, grad.flatten(1, -2), grads[1:], weighted)
        pairs = zip(labels(call.task.transition), tensors, job.wanted, strict=True)
        own = [gradient_of(found, name, v) if wanted else None for name, v, wanted in pairs]
        return None, dw, db, *own


def _backward(
    job: _Job, call: Call, weight: Tensor, grad: Tensor, ends: Any, weighted: bool
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return the gradient of the weight, and those of the neuron by the names of `labels`.

    Args:
        job: what runs.
        call: of the neuron; its residual is ``"state"``.
        weight: of the linear layer, [N, K].
        grad: of the output, [T, samples, N].
        ends: gradients of the last states, None where there is none.
        weighted: whether the gradient of the weight is needed.
    """
    task = call.task
    steps = call.steps
    inputs = weight.shape[1]
    names = needed(task.transition, job.wanted)
    requested = tuple(n for n in names if n[0] != "s")
    known_ends = {f: g for f, g in zip(task.fields, ends, strict=True) if g is not None}
    nothing = [None] * len(task.fields)
    given, vector, found = prepared(call, Flow([None, *nothing], known_ends, requested))
    given |= last_states(call, task.lasts)[1]
    again = compiled_forward(task, vector, True)
    flows = (True, *map(bool, nothing))
    back = compiled_backward(task, vector, flows, requested) if names else None
    weight = weight.detach()
    total = _Total(torch.zeros_like(weight))
    scratch = Scratch(call, ("SPK", *(f"N_{f}" for f in task.paths)))

    def work(start: int, stop: int) -> None:
        first, last = start * inputs, stop * inputs
        with scratch.of(first, last) as own:
            again(given | own, steps, first, last, first)
            rows = grad[:, start:stop].flatten(0, 1)
            spikes = own["SPK"].tensor.view(-1, inputs)
            if weighted:
                total.add(start, stop, rows.t() @ spikes)
            if back is not None:
                torch.mm(rows, weight, out=spikes)  # the spikes are not needed any more
                own["E_spk"] = own["SPK"]
                back(given | own, steps, first, last, first)

    _by_samples(work, grad.shape[1], steps * inputs * (1 + len(task.paths)))
    return total.value if weighted else None, found


class _Total:
    """Adds parts in the order of their samples, whichever thread has the first one.

    A part waits only while an earlier one is computed.
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self.next = 0
        self.waiting: dict[int, tuple[int, Tensor]] = {}
        self.lock = Lock()

    def add(self, start: int, stop: int, part: Tensor) -> None:
        with self.lock:
            self.waiting[start] = stop, part
            while self.next in self.waiting:
                self.next, part = self.waiting.pop(self.next)
                self.value += part
