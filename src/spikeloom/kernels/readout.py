"""A neuron and the linear layer with few outputs that alone reads its spikes, a few samples at a time.

The spikes over time and their gradients, often the largest tensors of a classifier, then never exist as a whole: a few
samples of them are computed, used while they are in the cache, and for the backward pass computed once more from the
input. Spikes and states are those of the neuron alone, and gradients of the products add up in another order.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..core.transition import TRANSITIONS
from .events import narrow
from .layout import ordered
from .numba_cpu import given_of, last_states, looking, prepared
from .numba_loop import Memory, compiled_backward, compiled_forward
from .scan import ones_of, scanned
from .task import Call, Flow, labels, needed, task_of
from .threads import sweep

__all__ = ["read"]

SCRATCH = 2**19  # values of a few samples over time: 2 MiB; fewer cost calls, more fall out of the cache


class Job(NamedTuple):
    """What runs, but for its tensors.

    Args:
        key: of the transition, see `Transition.key`.
        steps: T.
        constant: the input is the same at every step.
        wanted: which of input, states and parameters need a gradient.
    """

    key: str
    steps: int
    constant: bool
    wanted: tuple[bool, ...]

    def call(self, x: Tensor, state: Sequence[Tensor], params: Sequence[Tensor], residual: str) -> Call:
        """The neuron's part, for a printer."""
        step, dtype = x if self.constant else x[0], state[0].dtype
        ones = ones_of(TRANSITIONS[self.key], params)
        task = task_of(self.key, dtype, ones, self.constant, False, residual, self.wanted)
        return Call(task, x, self.steps, [ordered(s, step) for s in state], params, step, dtype)


def read(
    key: str, x: Tensor, state: Sequence[Tensor], params: Sequence[Tensor], num_steps: int | None, layer: Any
) -> tuple[Tensor, list[Tensor]]:
    """The layer's output [T, B, ..., N] for a neuron's spikes, and the neuron's last states [B, ..., K].

    Args:
        key: of the neuron's transition, see `Transition.key`.
        x: input of the neuron, [T, B, ..., K], or [B, ..., K] with ``num_steps``; contiguous.
        state: where the neuron starts, [B, ..., K].
        params: of the neuron, in the order of the transition's names.
        num_steps: T of a constant input.
        layer: the linear layer, with K inputs and N outputs, at most `narrow.OUTPUTS`.
    """
    tensors = [x, *state, *params]
    recording = torch.is_grad_enabled()
    wanted = tuple(t.requires_grad and recording for t in tensors)
    job = Job(key, num_steps or len(x), num_steps is not None, wanted)
    given = job, layer.weight, layer.bias, len(state), *tensors
    y, *last = _Read.apply(*given) if recording else _run(*given)  # pyright: ignore[reportGeneralTypeIssues]
    return y, last


def _run(job: Job, weight: Tensor, bias: Tensor | None, n: int, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    call = job.call(x, tensors[:n], tensors[n:], "input")
    outputs, inputs = weight.shape
    like = call.step.detach()
    y = like.new_empty(call.steps, like.numel() // inputs, outputs)
    lasts, seen = last_states(call, call.task.fields)
    given, vector = given_of(call)
    given |= seen
    weight, product = weight.detach().contiguous(), narrow.loop("product", call.task.dtype)

    def work(start: int, stop: int) -> None:
        spk = like.new_empty(call.steps, (stop - start) * inputs)
        run(given | {"SPK": _part(spk, start * inputs)}, call.steps, start * inputs, stop * inputs)
        out = like.new_zeros(call.steps * (stop - start), outputs)
        product(spk.data_ptr(), weight.data_ptr(), out.data_ptr(), inputs, outputs, 0, len(out))
        y[:, start:stop] = out.view(call.steps, -1, outputs)

    with looking(call, given, vector) as run:
        sweep(work, y.shape[1], call.steps * inputs, _samples(call.steps * inputs))
    y = y.view(call.steps, *like.shape[:-1], outputs)
    return y if bias is None else y.add_(bias.detach()), *lasts.values()


def _part(scratch: Tensor, start: int) -> Memory:
    """Memory [T, n] of the neurons from ``start`` on, as a loop sees it that counts them from the first."""
    return Memory(scratch, scratch.data_ptr() - start * scratch.element_size(), scratch.stride(0))


def _samples(size: int) -> int:
    """How many at a time, of ``size`` spikes each."""
    return max(1, SCRATCH // max(1, size))


class _Read(torch.autograd.Function):
    """Keeps the input of the neuron and computes its spikes once more."""

    @staticmethod
    def forward(ctx: Any, job: Job, weight: Tensor, bias: Tensor | None, n: int, *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.job, ctx.n = job, n
        ctx.save_for_backward(weight, *tensors)
        return _run(job, weight, bias, n, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        job, n, (weight, x, *tensors) = ctx.job, ctx.n, ctx.saved_tensors
        weighted, biased = ctx.needs_input_grad[1:3]
        grad, ends = grads[0], grads[1:]
        db = grad.flatten(0, -2).sum(0) if biased and grad is not None else None
        if torch.is_grad_enabled():  # somebody will differentiate these gradients
            dw, *found = _differentiable(job, grads, (weight, x, *tensors), (weighted, *job.wanted), n)
            return None, dw, db, None, *found
        call = job.call(x, tensors[:n], tensors[n:], "state")
        if grad is None:
            grad = x.new_zeros(call.steps, *call.step.shape[:-1], len(weight))
        back = _Backward(call, weight, grad.flatten(1, -2).contiguous(), ends, job.wanted)
        dw = back.run(weighted)
        names = labels(call.task.transition)
        found = [_gradient(back.found.get(name), name, v) for name, v in zip(names, [x, *tensors], strict=True)]
        return None, dw, db, None, *(g if w else None for g, w in zip(found, job.wanted, strict=True))


def _differentiable(job: Job, grads: Any, tensors: Any, wanted: Sequence[bool], n: int) -> list[Tensor | None]:
    """The gradients of weight, input, states and parameters as functions of all that they depend on."""
    weight, x, *rest = tensors
    steps = job.steps if job.constant else 0
    spk, *last = scanned("numba", job.key, "input", False, x, steps, rest[:n], rest[n:])
    pairs = [(y, g) for y, g in zip((linear(spk, weight), *last), grads, strict=True) if g is not None]
    outputs, flow = zip(*pairs, strict=True)
    inputs = [t for t, w in zip(tensors, wanted, strict=True) if w]
    found = iter(torch.autograd.grad(outputs, inputs, flow, create_graph=True, allow_unused=True))
    return [next(found) if w else None for w in wanted]


def _gradient(found: Tensor | None, name: str, value: Tensor) -> Tensor | None:
    return found.sum_to_size(value.shape) if found is not None and name[0] == "p" else found


class _Backward:
    """One backward pass.

    Args:
        call: the neuron's part.
        weight: of the layer, [N, K].
        grad: of the layer's output, [T, samples, N].
        ends: of the last states, None where none flows.
        wanted: which of input, states and parameters need a gradient.
    """

    def __init__(self, call: Call, weight: Tensor, grad: Tensor, ends: Any, wanted: Sequence[bool]) -> None:
        self.call, self.weight, self.grad = call, weight.detach().contiguous(), grad
        task = call.task
        self.names = needed(task.transition, wanted)
        asked = tuple(n for n in self.names if n[0] != "s")
        timed = [None] * (1 + len(task.fields))
        flow = Flow(timed, {f: g for f, g in zip(task.fields, ends, strict=True) if g is not None}, asked)
        self.given, vector, self.found = prepared(call, flow)
        self.given |= last_states(call, task.lasts)[1]
        self.again = compiled_forward(task, vector, True)
        self.back = compiled_backward(task, vector, (True, *[False] * len(task.fields)), asked) if self.names else None

    def run(self, weighted: bool) -> Tensor | None:
        """Fill what was found of the neuron; returns the gradient of the weight if it is asked for."""
        sums: dict[int, Tensor] = {}
        task, steps, inputs = self.call.task, self.call.steps, self.weight.shape[1]
        add = narrow.loop("weight", task.dtype)

        def work(start: int, stop: int) -> None:
            scratch = self.grad.new_empty(1 + len(task.paths), steps, (stop - start) * inputs)
            spk, rows = scratch[0], self.grad[:, start:stop].contiguous().view(-1, self.grad.shape[2])
            numbers = steps, start * inputs, stop * inputs, start * inputs
            own = self.given | {"SPK": _part(spk, start * inputs)}
            own |= {
                f"N_{f}": Memory(s, s.data_ptr(), s.stride(0)) for f, s in zip(task.paths, scratch[1:], strict=True)
            }
            self.again(own, *numbers)
            if weighted:
                sums[start] = torch.zeros_like(self.weight)
                pointers = rows.data_ptr(), spk.data_ptr(), sums[start].data_ptr()
                add(*pointers, inputs, self.grad.shape[2], 0, len(rows))
            if self.back is not None:  # the place of the spikes is free now
                torch.mm(rows, self.weight, out=spk.view(-1, inputs))
                self.back(own | {"E_spk": _part(spk, start * inputs)}, *numbers)

        sweep(work, self.grad.shape[1], steps * inputs, _samples(steps * inputs * (1 + len(task.paths))))
        return torch.stack([sums[start] for start in sorted(sums)]).sum(0) if weighted else None
