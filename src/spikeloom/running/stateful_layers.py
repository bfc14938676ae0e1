"""Runs the layers of modules with a state over time.

A neuron runs as one loop over time, with the parameters and the transition that it had at its
first call. Other modules run through their ``advance``.
"""

from typing import Any

import torch
from torch import Tensor

from ..core import checks, dispatch
from ..core.lengths import alive_or, cut, held
from ..core.neuron import Neuron
from ..core.taps import Moment
from .deferred import Deferred
from .execution import Execution
from .program import Layer, Reference, Slot

__all__ = ["NeuronLayer", "ObservedLayer", "ScannedLayer", "StatefulLayer"]


class ObservedLayer(Layer):
    """Calls a tap with the input and output of a layer without a state.

    It runs exactly once, also where none of its values is read.
    """

    x: Any  # a slot or a tensor

    def __init__(self, tap: Any, module: Any, mode: Any, where: str) -> None:
        super().__init__(tap, "observe", mode, where)
        self.module = module
        self.effect = True

    def run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        if execution.again:
            return ""
        occurrences = self.occurrences[span.start : span.stop]
        x, x_once = self.x, True
        if isinstance(x, Slot):
            x, x_once = execution.along(x, occurrences)
        output, constant = execution.along(self.slots[-1], occurrences)
        if x_once and not constant:  # a batch norm, which counts every step
            x = x.expand(len(span), *x.shape)
        if len(span) == 1 and execution.stepping and len(self.occurrences) > 1:
            moment = Moment(x.unsqueeze(0), output.unsqueeze(0), None, True)
        elif len(span) == 1 and not execution.stepping:
            moment = Moment(x, output, None, None)
        else:
            moment = Moment(x, output, None, not constant, len(span) if constant else 1)
        self.function(self.module, moment)
        return ""


class StatefulLayer(Layer):
    """A module with a state over time, run through its ``advance``.

    Attributes:
        module: the module.
        start: the initial state, one reference or tensor for each field; None: at rest.
        inside: parameters, children and hooks of the modules in it, at the first call.
        outs: for each field of the state, the output that holds it; 0 is the returned output.
        steady: later steps need the same gradients; if not, the next call begins a new layer.
        earlier: steps of the module before the first occurrence, in layers that this one continues.
    """

    sequential = False  # runs whole sequences only
    elementwise = False  # runs by elementwise equations alone

    def __init__(self, module: Any, mode: Any, where: str) -> None:
        super().__init__(module, "stateful", mode, where)
        fields = module.State._fields
        self.module = module
        self.start: list[Any] | None = None
        self.outs = [0 if name == "spk" else k + 1 for k, name in enumerate(fields)]
        self.chain = True
        self.steady = True
        self.earlier = 0
        self.inside = [(store, dict(store)) for store in _stores(module)]

    def references(self) -> list[Reference]:
        return [value for value in self.start or () if type(value) is Reference]

    def own(self, first: int) -> list[Reference]:
        return [Reference(self.number, out, first - 1) for out in self.outs] if first else []

    def follows(self, values: Any) -> bool:
        """Whether these are the states that the last occurrence left."""
        if not self.steady or len(values) != len(self.outs):
            return False
        first = self.number << 8
        last = len(self.occurrences) - 1
        for value, out in zip(values, self.outs):  # noqa: B905 (of equal length)
            if type(value) is not Deferred or value.key != first | out or value.index != last:
                return False
        return True

    def started(self, execution: Execution) -> Any:
        """Return the state that the pending occurrences start from; None: at rest."""
        done = execution.values.done.get(self.number, 0)
        one = execution.values.one
        if done:
            return self.module.State(*(one(self.number, out, done - 1) for out in self.outs))
        if self.start is None:
            return None
        for reference in self.references():
            execution.layers[reference.layer].consumed = True
        return self.module.State(*(one(*v) if type(v) is Reference else v for v in self.start))

    def step(self, x: Tensor, state: Any) -> list[Tensor]:
        """Return output and new state of one step, in the order of the layer's outputs."""
        output, new = self._advanced(x, state, sequence=False, num_steps=None)
        return self.ordered(output, new)

    def ordered(self, output: Tensor, state: Any) -> list[Tensor]:
        """Return output and state; a field that repeats the output holds the output itself."""
        return [
            output,
            *(output if out == 0 else v for v, out in zip(state, self.outs, strict=True)),
        ]

    def remaining(self, execution: Execution, span: range) -> Tensor | None:
        """Return in how many of the pending occurrences each sample takes part, [B]; None: in all.

        Raises:
            ValueError: the batch has another number of samples.
        """
        ends = execution.ends
        if ends is None:
            return None
        batch = self.infos[0].shape[0]
        if batch != len(ends):
            raise ValueError(
                f"lengths are for {len(ends)} samples, got {batch} a step; the axis before the "
                "features must be the batch"
            )
        return (ends - self.earlier - span.start).clamp(0, len(span))

    def goes_on(self, found: list[Tensor], state: Any, alive: Tensor) -> list[Tensor]:
        """Return outputs of a step, 0 and the state before it for samples that have ended.

        Args:
            found: output and new state, in the order of the layer's outputs.
            state: before the step; None: at rest.
            alive: which samples go on, [B].
        """
        axis = self.module.batch_axis
        frozen = [alive_or(alive, found[0], torch.zeros_like(found[0])), *found[1:]]
        if axis is not None and state is not None:
            for old, out in zip(state, self.outs, strict=True):
                if out:
                    frozen[out] = alive_or(alive, found[out], old.to(found[out].dtype), axis)
        return frozen

    def leave(self, execution: Execution) -> None:
        """Set the last valid state of padded samples where the last output is another one."""
        if self.module.batch_axis is None:
            self.module.forget_padded()

    def _advanced(
        self,
        x: Tensor,
        state: Any,
        *,
        sequence: bool,
        num_steps: int | None,
        ends: Tensor | None = None,
    ) -> Any:
        """Call ``advance`` from a state without changing the state of the module."""
        before = self.module._hidden
        self.module._hidden = state
        options = {} if ends is None else {"ends": ends}
        try:
            return self.module.advance(x, sequence=sequence, num_steps=num_steps, **options)
        finally:
            self.module._hidden = before

    def run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        """Run the pending occurrences, with the modules inside as they were at the first one."""
        later = [dict(store) for store, _ in self.inside]
        try:
            for store, first in self.inside:
                store.clear()
                store.update(first)
            return self._run(execution, span, need)
        finally:
            for (store, _), now in zip(self.inside, later, strict=True):
                store.clear()
                store.update(now)

    def _run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        count = len(span)
        x, constant = execution.along(self.slots[0], self.occurrences[span.start : span.stop])
        state = self.started(execution)
        ends = self.remaining(execution, span)
        at_once = ends is None or self.module.takes_ends
        if count > 1 and at_once and not self.path_wanted(span, need):
            steps = count if constant else None
            output, new = self._advanced(x, state, sequence=True, num_steps=steps, ends=ends)
            if ends is not None:
                output = cut(output, ends)
            execution.values.put_timed(self, 0, count, output)
            for out, value in zip(self.outs, new, strict=True):
                if out:
                    execution.values.put(self, out, count, [None] * (count - 1) + [value])
            return "all steps at once"
        results = []
        for t, x_t in enumerate([x] * count if constant else x.unbind(0)):
            found = self.step(x_t, state)
            results.append(found if ends is None else self.goes_on(found, state, ends > t))
            state = self.module.State(*(results[-1][out] for out in self.outs))
        for out in {0, *self.outs}:
            execution.values.put(self, out, count, [result[out] for result in results])
        return "step by step"

    def path_wanted(self, span: range, need: dict[int, set[int]] | None) -> bool:
        """Whether states of other steps than the last one may be read."""
        if need is None:
            return True
        last = {span.stop - 1}
        return any(need.get(out, last) - last for out in self.outs if out)


class NeuronLayer(StatefulLayer):
    """A neuron over time, with the parameters and the transition that it had at its first call."""

    def __init__(self, neuron: Neuron, mode: Any, where: str) -> None:
        super().__init__(neuron, mode, where)
        self.function = neuron.transition
        self.kind = "neuron"
        self.params = tuple(getattr(neuron, name) for name in neuron._names)
        self.record_type = neuron._record
        self.key = neuron.key
        self.taps = neuron._taps
        self.elementwise = self.function.elementwise

    def step(self, x: Tensor, state: Any) -> list[Tensor]:
        return self.ordered(*self.module.step(x, state))

    def _run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        count = len(span)
        x, constant, state = self.given(execution, span)
        ends = self.remaining(execution, span)
        path = bool(self.taps) or ends is not None or self.path_wanted(span, need)
        if count == 1:
            checks.finite(x, f"the input of {self.title}")
            spk, states = self._one(x, state)
            how = "step by step" if len(self.occurrences) > 1 else "one step"
        else:
            steps = count if constant else None
            spk, states, how = self._many(execution, x, state, steps, path=path)
            how += ", the same input at every step" if constant else ""
        if ends is not None:
            spk, states = self._ended(execution, spk, states, state, ends, timed=count > 1)
        self.put(execution, count, spk, states, path=path)
        if self.taps and not execution.again:
            self._tell(execution, x, spk, states, count, constant)
        return how

    def given(self, execution: Execution, span: range) -> tuple[Tensor, bool, Any]:
        """Return the input of pending occurrences, whether it is constant, and the first state."""
        x, constant = execution.along(self.slots[0], self.occurrences[span.start : span.stop])
        state = self.started(execution)
        if state is None:
            state = self.module.initial(x if constant else x[0])
        return x, constant, state

    def _ended(
        self,
        execution: Execution,
        spk: Tensor,
        states: Any,
        start: Any,
        ends: Tensor,
        *,
        timed: bool,
    ) -> tuple[Tensor, Any]:
        """Return spikes that are 0, and states that stay the same, from each sample's end on."""
        if not timed:
            one = type(states)(*(value.unsqueeze(0) for value in states))
            spk, frozen = self._ended(execution, spk.unsqueeze(0), one, start, ends, timed=True)
            return spk[0], type(states)(*(value[0] for value in frozen))
        frozen = [held(value, old, ends) for value, old in zip(states, start, strict=True)]
        if 0 in self.outs:  # the spikes are part of the state, and those that are passed on are cut
            place = self.outs.index(0)
            goes_on = self.earlier or execution.values.done.get(self.number, 0)
            known = execution.fired.get(id(self.module)) if goes_on else None
            fired = held(states[place], start[place] if known is None else known, ends)[-1]
            if not execution.again:
                fired = fired if self.infos[0].requires_grad else fired.detach()
                execution.fired[id(self.module)] = fired
        return cut(spk, ends), type(states)(*frozen)

    def leave(self, execution: Execution) -> None:
        fired = execution.fired.get(id(self.module))
        if fired is not None:
            self.module._hidden = self.module._hidden._replace(spk=fired)

    def _tell(
        self, execution: Execution, x: Tensor, spk: Tensor, states: Any, count: int, constant: bool
    ) -> None:
        """Call the taps of the neuron once for all steps."""
        moment = Moment(x, spk, states, count > 1, count if constant else 1)
        if count == 1 and execution.stepping:  # a piece of a sequence that has one step
            states = type(states)(*(value.unsqueeze(0) for value in states))
            moment = Moment(x.unsqueeze(0), spk.unsqueeze(0), states, True)
        for tap in self.taps:
            tap(self.module, moment)

    def put(self, execution: Execution, count: int, spk: Any, states: Any, *, path: bool) -> None:
        """Store the spikes, and the states of all steps or of the last one."""
        values = execution.values
        found = {**dict(zip(self.outs, states, strict=True)), 0: spk}  # a state may be the spikes
        for out, value in found.items():
            if value is None:  # it ran together with its only reader
                values.put(self, out, count, [None] * count)
                continue
            if not self.infos[out].requires_grad:
                value = value.detach()
            if count == 1:
                values.put(self, out, 1, [value])
            elif out == 0 or path:
                values.put_timed(self, out, count, value)
            else:
                values.put(self, out, count, [None] * (count - 1) + [value])

    def arguments(self, dtype: torch.dtype) -> Any:
        """Return the parameters in ``dtype``; copies buffers, which may be written later."""
        values = (p.to(dtype) if p.requires_grad else p.to(dtype, copy=True) for p in self.params)
        return self.record_type(*values)

    @property
    def cell(self) -> Any:
        """The neuron if its equations contain modules; else None."""
        return None if self.function.neuron.elementwise else self.module

    def _one(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        dtype = torch.promote_types(x.dtype, state[0].dtype)
        state = type(state)(*(value.to(dtype) for value in state))
        spk, new = self.function(x.to(dtype), state, self.arguments(dtype), self.cell)
        return spk.to(x.dtype), new

    def _many(
        self, execution: Execution, x: Tensor, state: Any, steps: int | None, *, path: bool
    ) -> tuple[Tensor, Any, str]:
        """Return spikes, states (only the last without ``path``) and how they were computed."""
        transition = self.function
        dtype = torch.promote_types(x.dtype, state[0].dtype)
        state = type(state)(*(value.to(dtype) for value in state))
        params = self.arguments(dtype)
        keep, remark = execution.residual(transition, x, steps, dtype)
        name = "eager"
        run = None
        if transition.elementwise:
            with keep:
                name, run = dispatch.chosen(transition, x, dtype, steps or 1)
        if not dispatch.checks_input(name):
            checks.finite(x, f"the input of {self.title}")
        if run is not None:
            spk, states = run(self.key, x, state, params, steps, path=path)
            return spk, states, f"scan over time ({name}){remark}"
        spikes = []
        collected = []
        for x_t in x.unbind(0) if steps is None else [x] * steps:
            spk, state = transition(x_t.to(dtype), state, params, self.cell)
            spikes.append(spk.to(x.dtype))
            collected.append(state)
        if path:
            state = type(state)(*map(torch.stack, zip(*collected, strict=True)))
        return torch.stack(spikes), state, f"scan over time (eager){remark}"


class ScannedLayer(NeuronLayer):
    """A neuron that has a ``scan`` of its own."""

    def __init__(self, neuron: Neuron, mode: Any, where: str) -> None:
        super().__init__(neuron, mode, where)
        self.sequential = "step" not in neuron.modes
        self.elementwise = False

    def step(self, x: Tensor, state: Any) -> list[Tensor]:
        if not self.sequential:
            return super().step(x, state)
        steps = self.module.fewest_steps
        spk, states = self.module.scan(x.expand(steps, *x.shape), state)
        return self.ordered(spk[0], [value[0] for value in states])

    def _run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        if not self.sequential:
            return super()._run(execution, span, need)
        count = len(span)
        # it cannot continue from a state, so that all occurrences run again from rest
        x, constant = execution.along(self.slots[0], self.occurrences[: span.stop])
        steps = span.stop if constant else None
        checks.finite(x, f"the input of {self.title}")
        spk, states = self.module.scan(x, None, num_steps=steps)
        ends = self.remaining(execution, range(span.stop))
        if ends is not None:
            start = [torch.zeros_like(value[0]) for value in states]  # no sample ends before step 1
            spk, states = self._ended(execution, spk, states, start, ends, timed=True)
        spk = spk[-count:]
        states = type(states)(*(value[-count:] for value in states))
        execution.values.put_timed(self, 0, count, spk)
        for out, value in zip(self.outs, states, strict=True):
            execution.values.put_timed(self, out, count, value)
        if self.taps and not execution.again:
            x = x if constant else x[-count:]
            if count == 1:
                x, spk, states = (x if constant else x[0]), spk[0], self.module._last(states)
            self._tell(execution, x, spk, states, count, constant)
        return "all steps at once"

    def _one(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.module.step(x, state)

    def _many(
        self, execution: Execution, x: Tensor, state: Any, steps: int | None, *, path: bool
    ) -> tuple[Tensor, Any, str]:
        checks.finite(x, f"the input of {self.title}")
        spk, states = self.module.scan(x, state, num_steps=steps)
        if not path:
            states = self.module._last(states)
        return spk, states, "all steps at once"


def _stores(module: Any) -> list[dict[str, Any]]:
    """Return what decides how the modules inside ``module`` compute."""
    inside = [inner for child in module.children() for inner in child.modules()]
    names = ("_parameters", "_modules", "_forward_hooks", "_forward_pre_hooks")
    return [module._modules, *(vars(inner)[name] for inner in inside for name in names)]
