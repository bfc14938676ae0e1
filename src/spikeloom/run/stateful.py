"""Neurons and other modules with a state: one layer over all its calls that follow each other.

The state is left out of a neuron's key. Its calls form a chain, each starting from the state that
the one before left; where they do not, a new layer begins. A layer of a neuron runs as one loop
over time, with the parameters and the transition of the moment of the call.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..core import checks, dispatch
from ..core.inspection import inspect_input, inspect_state
from ..core.neuron import Neuron
from ..core.stateful import Stateful
from ..core.taps import Moment
from . import modes
from .deferred import Deferred, Info, user_line
from .execution import Execution
from .modes import under
from .program import Layer, Reference, Slot
from .special import Special

__all__ = ["NeuronLayer", "StatefulModules"]

_outlines: dict[Any, list[Info]] = {}  # what outputs look like, by equations and signature
_OUTLINES = 10_000  # that are kept
_OWN = ("step", "scan", "initial", "integrate", "params", "advance")  # on the instance
_DOORS = ("step", "scan", "final", "_run", "_loop", "params", "_start", "_advance", "returned")
_DOORS += ("__call__", "_call_impl")


class StatefulModules(Special):
    """A record that knows the library's modules with a state."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stepping = self.execution.stepping
        self.reset: set[int] = set()  # modules whose state was forgotten while recording
        self.memos: dict[int, _Memo] = {}
        self.outlines: dict[Any, list[Info]] = {}

    def stateful(self, module: Stateful, x: Any, state: Any, named: dict[str, Any]) -> Any:
        """One call of a module with a state."""
        with torch._C.DisableTorchFunction():  # what the recorder computes is not recorded
            return self._called(module, x, state, named)

    def _called(self, module: Stateful, x: Any, state: Any, named: dict[str, Any]) -> Any:
        memo = self.memos.get(id(module))
        if memo is not None and not named and not self.off and type(x) is Deferred:
            if memo.holds(self, module, x, state):
                return self.fire(module, memo.layer, x)
        obstacle = self._obstacle(module, x)
        if obstacle is None:
            values = self._states(module, x, state, named)
            if values is not None:
                return self._recorded(module, x, values)
            obstacle = "its state"
        return self._now(module, x, state, named, obstacle)

    def _obstacle(self, module: Stateful, x: Any) -> str | None:
        """Why calls of a module are not recorded; None if they are."""
        if self.off or not isinstance(x, Tensor) or not x.dtype.is_floating_point or x.dim() == 0:
            return "its input"
        hooked = self.execution.hooked
        if torch.is_inference_mode_enabled() is not self.inference:
            return "inference mode"
        if modes.saving_hooks() is not hooked:
            return "hooks for saved tensors"
        if vars(module).keys() & set(_OWN) or not _is_known(type(module)):
            return "its class overrides how it runs"
        if module.mode != "step" and not self.stepping:
            return "sequence mode"
        if any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.children()):
            return "hooks of a module in it"
        return None

    def _states(self, module: Any, x: Tensor, state: Any, named: dict[str, Any]) -> Any:
        """Where a call starts, one entry for each field; None for rest. None: not understood."""
        fields = module.State._fields
        if len(state) > len(fields) or not named.keys() <= set(fields):
            return None
        values: list[Any] = [*state] + [None] * (len(fields) - len(state))
        for name, value in named.items():
            values[fields.index(name)] = value
        passed = any(value is not None for value in values)
        if passed and getattr(module, "init_hidden", True):
            return None
        if not passed and module._hidden is not None and self._goes_on(module):
            values = list(module._hidden)
        if not all(value is None or isinstance(value, Tensor) for value in values):
            return None
        values = [None if value is None or value.shape == (0,) else value for value in values]
        known = [value for value in values if value is not None]
        return values if len(known) in (0, len(fields)) else None

    def _goes_on(self, module: Any) -> bool:
        """Whether a call starts from the state that the one before left."""
        if getattr(module, "carries", True):
            return True
        hidden = module._hidden[0]
        return self.stepping and type(hidden) is Deferred and hidden.recorder is self

    # -- recording ---------------------------------------------------------------------------------

    def _recorded(self, module: Any, x: Any, values: list[Any]) -> Any:
        tensors = [v for v in module._parameters.values() if v is not None]
        tensors += [v for v in module._buffers.values() if v is not None]
        for inner in module.children():
            tensors += list(inner.parameters())
        for tensor in tensors:
            if type(tensor) is Deferred:
                self.settle(tensor)
        x = self.kept(x)
        if type(x) is not Deferred:
            x = self.given(("input", id(module), Info.of(x).sign), x.clone())
        mode = modes.current()
        equations = module.transition if isinstance(module, Neuron) else module
        identities = map(self.identity, tensors)
        key = ("stateful", id(module), id(equations), x.key, mode, *identities)
        layer: Any = self.keys.get(key)
        if layer is None or not layer.follows(values):
            layer = self._new(module, x, values, tensors, mode)
            self.keys[key] = layer
        if isinstance(module, Neuron) and not self.inference:
            self.memos[id(module)] = _Memo(layer, module, x, mode, tensors, len(self.epochs))
        return self.fire(module, layer, x)

    def _new(
        self, module: Any, x: Deferred, values: list[Any], tensors: list[Tensor], mode: Any
    ) -> "StatefulLayer":
        layer = _layer_type(module)(module, mode, user_line())
        layer.slots = [Slot(0, x.layer, x.out)]
        info = x.info
        start = [v for v in values if v is not None]
        if isinstance(module, Neuron):
            # a step of a sequence has no axis that could be time
            sequence = self.stepping and len(info.shape) > 1
            if module._checked != (info.shape, info.dtype, info.device, sequence):
                inspect_input(module, info.blank(), sequence, False)
            for name, value in zip(module.State._fields, values, strict=True):
                if value is not None and type(value) is not Deferred:
                    inspect_state(module, name, value, info.blank())
        if start:
            kept: list[Any] = [v if type(v) is Deferred else self.kept(v) for v in values]
            layer.start = [
                Reference(v.layer, v.out, v.index) if type(v) is Deferred else v for v in kept
            ]
            tensors = [*tensors, *(v for v in kept if type(v) is not Deferred)]
        layer.reals = [(v, v._version) for v in tensors if not v.is_inference()]
        needs = x.info.requires_grad or any(v.requires_grad for v in (*tensors, *start))
        layer.infos = self._infos(layer, info, start, mode[0] and needs)
        self.held[id(module)] = module
        self.enter(layer)
        layer.title = type(module).__name__
        if id(module) in self.names:
            layer.name = self.names[id(module)][0]
            layer.is_module = True
        return layer

    def _infos(
        self, layer: "StatefulLayer", info: Info, start: list[Any], grad: bool
    ) -> list[Info]:
        """Of the output and of each state, from one step on zeros."""
        signs = tuple((v.shape, v.dtype) for v in start)
        owner = layer.function if layer.outlined_by_equations else id(layer.module)
        sign = (owner, layer.modes, signs, info.sign, grad)
        outlines = _outlines if layer.outlined_by_equations else self.outlines
        if sign not in outlines:
            if len(outlines) >= _OUTLINES:
                outlines.clear()
            with under(layer.modes):
                outlines[sign] = _outlined(layer, info, start, grad)
        return outlines[sign]

    def fire(self, module: Any, layer: "StatefulLayer", x: Deferred) -> Any:
        """One more occurrence of a module's layer."""
        if self.last is not None:
            self.last.following = layer
        self.last = layer
        self.grow(layer)
        index = len(layer.occurrences)
        layer.occurrences.append((x.index,))
        output = self.defer(layer, 0, index)
        state = [output if out == 0 else self.defer(layer, out, index) for out in layer.outs]
        module._hidden = module.State(*state)
        return module.returned(output, module._hidden)

    # -- taps of other layers ----------------------------------------------------------------------

    def observe(self, tap: Any, module: Any, x: Any, output: Any) -> bool:
        """Let a tap read what a layer without a state received and gave, once for all steps."""
        if self.off or type(output) is not Deferred or not isinstance(x, Tensor):
            return False
        with torch._C.DisableTorchFunction():
            x = self.kept(x)
            mode = modes.current()
            key: list[Any] = ["observe", id(tap), id(module), mode]
            at: list[int] = []
            self.add_key(x, key, at)
            self.add_key(output, key, at)
            layer = self.keys.get(found := tuple(key))
            if layer is None:
                layer = self.keys[found] = ObservedLayer(tap, module, mode, user_line())
                for position, value in enumerate(v for v in (x, output) if type(v) is Deferred):
                    layer.slots.append(Slot(position, value.layer, value.out))
                layer.x = layer.slots[0] if type(x) is Deferred else x
                self.enter(layer)
            layer.occurrences.append(tuple(at))
        return True

    # -- on the spot ---------------------------------------------------------------------------------

    def _now(
        self, module: Any, x: Any, state: Any, named: dict[str, Any], obstacle: str
    ) -> Any:
        """A call that is computed now, like any Python."""
        for value in module._hidden or ():
            if type(value) is Deferred:
                self.settle(value)
        x, state, named = pytree.tree_map(self.value, (x, state, named))
        self.force(f"{type(module).__name__} ({obstacle})")
        with self.paused():
            return module.called(x, *state, **named)


class _Memo:
    """What has to be unchanged for the next call of a neuron to be one more step of its layer."""

    def __init__(
        self, layer: "StatefulLayer", neuron: Any, x: Deferred, mode: Any, tensors: Any, epochs: int
    ) -> None:
        self.layer = layer
        self.key = x.key
        self.mode = mode
        self.epochs = epochs
        self.transition = neuron.transition
        self.versions = [(tensor, tensor._version) for tensor in tensors]
        self.identities = _identities(neuron)
        self.plain = not neuron._modules and neuron.carries

    def holds(self, record: "StatefulModules", neuron: Any, x: Deferred, state: Any) -> bool:
        """Whether a call of the neuron is the next step."""
        if x.key != self.key or not self.plain or len(record.epochs) != self.epochs:
            return False
        if modes.current() is not self.mode or neuron.transition is not self.transition:
            return False
        before = state
        if neuron.init_hidden:
            before = () if state else neuron._hidden
        if not before or len(before) != len(self.layer.outs):
            return False
        if modes.saving_hooks() is not record.execution.hooked:
            return False
        if not self.layer.follows(before) or _identities(neuron) != self.identities:
            return False
        return all(tensor._version == version for tensor, version in self.versions)


def _identities(neuron: Any) -> tuple[int, ...]:
    parameters = neuron._parameters.values()
    buffers = neuron._buffers.values()
    return (*map(id, parameters), *map(id, buffers), len(vars(neuron)), id(neuron._taps))


# -- layers ----------------------------------------------------------------------------------------


def _outlined(
    layer: "StatefulLayer", info: Info, start: list[Any], grad: bool
) -> list[Info]:
    """Infos of the outputs of a module; a state may carry no gradient."""
    x = info.blank()
    if grad:
        x.requires_grad_()
    state = None
    if start:
        zeros = [torch.zeros_like(v.info.blank() if type(v) is Deferred else v) for v in start]
        state = layer.module.State(*zeros)
    outputs = layer.step(x, state)
    if grad:  # some states carry a gradient only from the second step on
        outputs = layer.step(x, layer.module.State(*(outputs[out] for out in layer.outs)))
    return [Info.of(value, grad and value.requires_grad) for value in outputs]


class ObservedLayer(Layer):
    """What a tap reads of a layer without a state; runs whatever is wanted, and once."""

    x: Any  # a slot or a tensor

    def __init__(self, tap: Any, module: Any, mode: Any, where: str) -> None:
        super().__init__(tap, "observe", mode, where)
        self.module = module
        self.effect = True

    def run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        if execution.again:
            return ""
        occurrences = self.occurrences[span.start : span.stop]
        x = self.x
        if isinstance(x, Slot):
            x, _ = execution.along(x, occurrences)
        output, constant = execution.along(self.slots[-1], occurrences)
        if len(span) == 1 and execution.stepping and len(self.occurrences) > 1:
            moment = Moment(x.unsqueeze(0), output.unsqueeze(0), None, True)
        elif len(span) == 1 and not execution.stepping:
            moment = Moment(x, output, None, None)
        else:
            moment = Moment(x, output, None, not constant, len(span) if constant else 1)
        self.function(self.module, moment)
        return ""


class StatefulLayer(Layer):
    """A module with a state over time, by way of its ``advance``.

    Attributes:
        module: the module.
        start: where it starts, one reference or tensor for each field; None: at rest.
        outs: for each field of the state the output that holds it; 0 is what the module returns.
    """

    sequential = False  # it runs whole sequences only
    outlined_by_equations = False  # outputs look alike for all modules of equal equations

    def __init__(self, module: Any, mode: Any, where: str) -> None:
        super().__init__(module, "stateful", mode, where)
        fields = module.State._fields
        self.module = module
        self.start: list[Any] | None = None
        self.outs = [0 if name == "spk" else k + 1 for k, name in enumerate(fields)]
        self.chain = True

    def references(self) -> list[Reference]:
        return [value for value in self.start or () if type(value) is Reference]

    def own(self, first: int) -> list[Reference]:
        return [Reference(self.number, out, first - 1) for out in self.outs] if first else []

    def follows(self, values: Any) -> bool:
        """Whether these states are those that the last occurrence left."""
        last = len(self.occurrences) - 1
        for value, out in zip(values, self.outs, strict=True):
            if type(value) is not Deferred or value.layer != self.number:
                return False
            if value.index != last or value.out != out:
                return False
        return True

    def started(self, execution: Execution) -> Any:
        """The state that the pending occurrences start from; None: at rest."""
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
        """Output and new state of one step, in the order of the layer's outputs."""
        output, new = self._advanced(x, state, sequence=False, num_steps=None)
        return self.ordered(output, new)

    def ordered(self, output: Tensor, state: Any) -> list[Tensor]:
        """Output and state with the output in the place of a field that repeats it."""
        return [output, *(output if out == 0 else v for v, out in zip(state, self.outs, strict=True))]

    def _advanced(self, x: Tensor, state: Any, *, sequence: bool, num_steps: int | None) -> Any:
        """Call ``advance`` from a state, and leave the module's own as it is."""
        before = self.module._hidden
        self.module._hidden = state
        try:
            return self.module.advance(x, sequence=sequence, num_steps=num_steps)
        finally:
            self.module._hidden = before

    def run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        count = len(span)
        x, constant = execution.along(self.slots[0], self.occurrences[span.start : span.stop])
        state = self.started(execution)
        if count > 1 and not self.path_wanted(span, need):
            steps = count if constant else None
            output, new = self._advanced(x, state, sequence=True, num_steps=steps)
            execution.values.put_timed(self, 0, count, output)
            for out, value in zip(self.outs, new, strict=True):
                if out:
                    execution.values.put(self, out, count, [None] * (count - 1) + [value])
            return "all steps at once"
        results = []
        for x_t in [x] * count if constant else x.unbind(0):
            results.append(self.step(x_t, state))
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
    """A neuron over time, with the parameters and the transition of the moment of its first call."""

    def __init__(self, neuron: Neuron, mode: Any, where: str) -> None:
        super().__init__(neuron, mode, where)
        self.function = neuron.transition
        self.kind = "neuron"
        self.params = tuple(getattr(neuron, name) for name in neuron._names)
        self.record_type = neuron._record
        self.key = neuron.key
        self.taps = neuron._taps
        self.outlined_by_equations = self.function.elementwise

    def step(self, x: Tensor, state: Any) -> list[Tensor]:
        return self.ordered(*self.module.step(x, state))

    def run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        count = len(span)
        x, constant = execution.along(self.slots[0], self.occurrences[span.start : span.stop])
        state = self.started(execution)
        if state is None:
            state = self.module.initial(x if constant else x[0])
        path = bool(self.taps) or self.path_wanted(span, need)
        if count == 1:
            checks.finite(x, f"the input of {self.title}")
            spk, states = self._one(x, state)
            how = "step by step" if len(self.occurrences) > 1 else "one step"
        else:
            steps = count if constant else None
            spk, states, how = self._many(execution, x, state, steps, path=path)
            how += ", the same input at every step" if constant else ""
        self.put(execution, count, spk, states, path=path)
        if self.taps and not execution.again:
            self._tell(execution, x, spk, states, count, constant)
        return how

    def _tell(
        self, execution: Execution, x: Tensor, spk: Tensor, states: Any, count: int, constant: bool
    ) -> None:
        """Tell the taps of the neuron once for all steps."""
        moment = Moment(x, spk, states, count > 1, count if constant else 1)
        if count == 1 and execution.stepping:  # a piece of a sequence, if only of one step
            states = type(states)(*(value.unsqueeze(0) for value in states))
            moment = Moment(x.unsqueeze(0), spk.unsqueeze(0), states, True)
        for tap in self.taps:
            tap(self.module, moment)

    def put(self, execution: Execution, count: int, spk: Any, states: Any, *, path: bool) -> None:
        """Enter spikes, and states over time or the last ones."""
        values = execution.values
        found = {**dict(zip(self.outs, states, strict=True)), 0: spk}  # a state may repeat spikes
        for out, value in found.items():
            if not self.infos[out].requires_grad:
                value = value.detach()
            if count == 1:
                values.put(self, out, 1, [value])
            elif out == 0 or path:
                values.put_timed(self, out, count, value)
            else:
                values.put(self, out, count, [None] * (count - 1) + [value])

    def arguments(self, dtype: torch.dtype) -> Any:
        """The parameters in ``dtype``; copies of buffers, which may be written later."""
        values = (p.to(dtype) if p.requires_grad else p.to(dtype, copy=True) for p in self.params)
        return self.record_type(*values)

    @property
    def cell(self) -> Any:
        """What provides the equations: the neuron where they own modules."""
        return None if self.function.neuron.elementwise else self.module

    def _one(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        dtype = torch.promote_types(x.dtype, state[0].dtype)
        state = type(state)(*(value.to(dtype) for value in state))
        spk, new = self.function(x.to(dtype), state, self.arguments(dtype), self.cell)
        return spk.to(x.dtype), new

    def _many(
        self, execution: Execution, x: Tensor, state: Any, steps: int | None, *, path: bool
    ) -> tuple[Tensor, Any, str]:
        """Spikes, states (the last ones only without ``path``) and how they were computed."""
        transition = self.function
        dtype = torch.promote_types(x.dtype, state[0].dtype)
        state = type(state)(*(value.to(dtype) for value in state))
        params = self.arguments(dtype)
        if not (transition.elementwise and dispatch.looks(transition, x)):
            checks.finite(x, f"the input of {self.title}")
        keep, remark = execution.residual(transition, x, steps, dtype)
        if transition.elementwise:
            with keep:
                run = dispatch.chosen(transition, x, dtype, steps or 1)
                if run is not None:
                    spk, states = run(self.key, x, state, params, steps, path=path)
                    name = dispatch.name_of(transition, x, dtype, steps or 1)
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
        self.outlined_by_equations = False

    def step(self, x: Tensor, state: Any) -> list[Tensor]:
        if not self.sequential:
            return super().step(x, state)
        spk, states = self.module.scan(x.unsqueeze(0), state)
        return self.ordered(spk[0], [value[0] for value in states])

    def run(self, execution: Execution, span: range, need: dict[int, set[int]] | None) -> str:
        if not self.sequential:
            return super().run(execution, span, need)
        count = len(span)
        # it cannot go on from a state: all occurrences run from rest
        x, constant = execution.along(self.slots[0], self.occurrences[: span.stop])
        steps = span.stop if constant else None
        checks.finite(x, f"the input of {self.title}")
        spk, states = self.module.scan(x, None, num_steps=steps)
        state = [value[-count:] for value in states]
        execution.values.put_timed(self, 0, count, spk[-count:])
        for out, value in zip(self.outs, state, strict=True):
            execution.values.put_timed(self, out, count, value)
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


def _layer_type(module: Any) -> type[StatefulLayer]:
    if not isinstance(module, Neuron):
        return StatefulLayer
    return NeuronLayer if _is_plain(type(module)) else ScannedLayer


def _is_plain(kind: type) -> bool:
    """Whether sequences of a class of neurons are those of its transition."""
    return all(getattr(kind, name) is getattr(Neuron, name) for name in _DOORS)


@cache
def _is_known(kind: type) -> bool:
    """Whether a class runs as the library defines it, or as its equations say.

    A subclass may declare equations and state. One that overrides how it is called, started or
    run is called at every step like any Python.
    """
    ours = next(c for c in kind.__mro__ if c.__module__.startswith("spikeloom."))
    names = (*_DOORS, "called", "advance")
    return all(getattr(kind, name, None) is getattr(ours, name, None) for name in names)
