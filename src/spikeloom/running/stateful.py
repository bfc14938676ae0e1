"""Records neurons and other modules with a state: consecutive calls form one layer.

The state is not part of a neuron's key. Its calls form a chain in which each call starts from the
state that the previous one left. A call that starts from another state begins a new layer. The
layer of a neuron runs as one loop over time, with the parameters and the transition that the
neuron had at its first call.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..core import recording
from ..core.lengths import alive_or, checked_lengths, cut, held
from ..core.neuron import Neuron
from ..core.parameters import version
from ..core.stateful import Stateful
from . import modes
from .deferred import Deferred, Info, user_line
from .memo import Memo
from .modes import under
from .program import Slot, referred
from .special import Special
from .stateful_layers import NeuronLayer, ObservedLayer, ScannedLayer, StatefulLayer

__all__ = ["StatefulModules"]

_outlines: dict[Any, tuple[list[Info], bool]] = {}  # by equations and signature
_OUTLINES = 2_000  # entries at which the cache is cleared
_OWN = ("step", "scan", "initial", "integrate", "params", "advance")  # if set on the instance
_DOORS = ("step", "scan", "final", "_run", "_loop", "params", "_start", "_advance", "returned")
_DOORS += ("__call__", "_call_impl")


class StatefulModules(Special):
    """A record that handles the library's modules with a state."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stepping = self.execution.stepping
        self.reset: set[int] = set()  # modules that were reset during the recording
        self.memos: dict[int, Memo] = {}
        self.outlines: dict[Any, tuple[list[Info], bool]] = {}
        self.immediate: dict[int, int] = {}  # steps of modules that were computed immediately

    def stateful(self, module: Stateful, x: Any, state: Any, named: dict[str, Any]) -> Any:
        """Record or compute one call of a module with a state."""
        with torch._C.DisableTorchFunction():  # the recorder's own operations are not recorded
            memo: Any = self.memos.get(id(module))
            usual = not named and not self.off and type(x) is Deferred
            if memo is not None and usual and memo.holds(self, module, x, state):
                return self.fire(module, memo.layer, x)
            obstacle = self._obstacle(module, x)
            if obstacle is None:
                values = self._states(module, x, state, named)
                if values is not None:
                    return self._recorded(module, x, values)
                obstacle = "its state"
            return self._now(module, x, state, named, obstacle)

    def _obstacle(self, module: Stateful, x: Any) -> str | None:
        """Return why calls of a module are not recorded; None if they are."""
        if self.off or not isinstance(x, Tensor) or not x.dtype.is_floating_point or x.dim() == 0:
            return "its input"
        hooked = self.execution.hooked
        if torch.is_inference_mode_enabled() is not self.inference:
            return "inference mode"
        if modes.saving_hooks() is not hooked:
            return "hooks for saved tensors"
        overridden = getattr(module, "overridden", ())
        if overridden:
            return f"its class overrides {', '.join(overridden)}"
        if vars(module).keys() & set(_OWN) or not _is_known(type(module)):
            return "its class overrides how it runs"
        if isinstance(module, Neuron) and module.transition.shifts:
            return "its random threshold"
        if module.mode != "step" and not self.stepping:
            return "sequence mode"
        if any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.children()):
            return "hooks of a module in it"
        return None

    def _states(self, module: Any, x: Tensor, state: Any, named: dict[str, Any]) -> Any:
        """Return the state that a call starts from, one entry for each field.

        An entry None is the state at rest. The result None is a state that cannot be recorded.
        """
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
        if isinstance(module, Neuron):
            shape = module.state_shape(x)
            known = [value for value in known if value.shape == shape]
        given = sum(value is not None for value in values)
        return values if len(known) == given and given in (0, len(fields)) else None

    def _goes_on(self, module: Any) -> bool:
        """Whether a call starts from the state that the previous one left."""
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
        x = self.stable(x)
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
            self.memos[id(module)] = Memo(layer, module, x, mode, len(self.epochs))
        return self.fire(module, layer, x)

    def _new(
        self, module: Any, x: Deferred, values: list[Any], tensors: list[Tensor], mode: Any
    ) -> StatefulLayer:
        layer = _layer_type(module)(module, mode, user_line())
        layer.slots = [Slot(0, x.layer, x.out)]
        info = x.info
        passed = values
        start = [v for v in values if v is not None]
        if isinstance(module, Neuron):
            # a single step of a sequence has no time axis
            sequence = self.stepping and len(info.shape) > 1
            if module._checked != (info.shape, info.dtype, info.device, sequence):
                module.inspect_input(info.blank(), sequence, False)
            else:
                module.inspect_values()
            values = [self._inspected(module, k, value, info) for k, value in enumerate(values)]
            start = [v for v in values if v is not None]
            module._foreign = False
        if start:
            stable: list[Any] = [self.stable(v) for v in values]
            layer.start = [referred(v) for v in stable]
            layer.earlier = self._earlier(module, stable[0], passed)
            tensors = [*tensors, *(v for v in stable if type(v) is not Deferred)]
        layer.reals = [(v, version(v)) for v in tensors]
        flags = tuple(v.requires_grad for v in tensors)
        layer.infos, layer.steady = self._infos(layer, info, start, flags)
        self.held[id(module)] = module
        self.enter(layer)
        layer.title = type(module).__name__
        if id(module) in self.names:
            layer.name = self.names[id(module)][0]
            layer.is_module = True
        return layer

    def _earlier(self, module: Any, state: Any, passed: list[Any]) -> int:
        """Return how many steps of a module the recording holds before a state that it left.

        Args:
            module: the module.
            state: the first field of the state, recorded or not.
            passed: the state as the call received it.
        """
        if type(state) is Deferred:
            layer: Any = self.layers[state.layer]
            if isinstance(layer, StatefulLayer) and layer.module is module:
                return layer.earlier + state.index + 1
        taken = self.immediate.get(id(module), 0)
        left = module._hidden
        if left is None or not any(a is b for a in left for b in passed):
            return taken
        for layer in reversed(self.layers):  # a state whose values were needed meanwhile
            if isinstance(layer, StatefulLayer) and layer.module is module:
                return max(taken, layer.earlier + len(layer.occurrences))
        return taken

    def _inspected(self, neuron: Neuron, position: int, value: Any, info: Info) -> Any:
        """Return a state that is already computed, checked and in the dtype of the input."""
        if value is None or type(value) is Deferred:
            return value
        name = neuron.State._fields[position]
        return neuron.inspect_state(name, value, info.blank(), passed=not neuron.init_hidden)

    def _infos(
        self, layer: StatefulLayer, info: Info, start: list[Any], flags: tuple[bool, ...]
    ) -> tuple[list[Info], bool]:
        """Return the metadata of output and states, and whether they are those of later steps.

        One step on zeros is valid for all calls of the same signature.

        Args:
            layer: the layer.
            info: of its input.
            start: initial states; empty: at rest.
            flags: which of the module's tensors need gradients.
        """
        signs = tuple((v.shape, v.dtype, v.requires_grad) for v in start)
        owner = layer.function if layer.elementwise else id(layer.module)
        sign = (owner, layer.modes, signs, info.sign, flags)
        outlines = _outlines if layer.elementwise else self.outlines
        if sign not in outlines:
            if len(outlines) >= _OUTLINES:
                outlines.clear()
            with under(layer.modes):
                outlines[sign] = _outlined(layer, info, start)
        return outlines[sign]

    def fire(self, module: Any, layer: StatefulLayer, x: Deferred) -> Any:
        """Add one occurrence to a module's layer."""
        self.last.following = layer
        self.last = layer
        self.size += layer.size
        if layer is self.lead or self.lead is None:
            self.grow(layer)
        index = len(layer.occurrences)
        layer.occurrences.append((x.index,))
        outputs = layer.outputs
        output = self.defer(outputs[0], index)
        state = []
        for out in layer.outs:
            state.append(self.defer(outputs[out], index) if out else output)
        hidden = vars(module)["_hidden"] = tuple.__new__(module.State, state)
        return module.returned(output, hidden)

    # -- taps of other layers ----------------------------------------------------------------------

    def observe(self, tap: Any, module: Any, x: Any, output: Any) -> bool:
        """Record that a tap reads the input and output of a layer without a state.

        The tap is called once for all steps.
        """
        if self.off or type(output) is not Deferred or not isinstance(x, Tensor):
            return False
        with torch._C.DisableTorchFunction():
            x = self.stable(x)
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

    # -- computed immediately ----------------------------------------------------------------------

    def _now(self, module: Any, x: Any, state: Any, named: dict[str, Any], obstacle: str) -> Any:
        """Compute a call immediately."""
        for value in module._hidden or ():
            if type(value) is Deferred:
                self.settle(value)
        x, state, named = pytree.tree_map(self.value, (x, state, named))
        self.force(f"{type(module).__name__} ({obstacle})")
        recording.local.recorder = None
        try:
            if self.execution.ends is not None:
                return self._padded(module, x, state, named, obstacle)
            return module.called(x, *state, **named)
        finally:
            recording.local.recorder = self

    # -- padded recordings -------------------------------------------------------------------------

    def modules(self) -> dict[int, Any]:
        """Return the modules with a state that were called, by their ``id``."""
        found = {id(v.module): v.module for v in self.layers if isinstance(v, StatefulLayer)}
        return found | {key: self.held[key] for key in self.immediate}

    def steps_of(self, module: Any) -> set[int]:
        """Return how many steps a module has taken, in each of its series of calls."""
        found: set[int] = set()
        for layer in self.layers:
            if isinstance(layer, StatefulLayer) and layer.module is module:
                found.discard(layer.earlier)  # the series that this layer continues
                found.add(layer.earlier + len(layer.occurrences))
        immediate = self.immediate.get(id(module))
        return found if immediate is None else {max({immediate} | found)}

    def check_ends(self, steps: int | None) -> None:
        """Check that each module with a state took every step of padded recordings.

        Args:
            steps: T; None: that of the module with the most steps.

        Raises:
            ValueError: one did not, or there is no such module, or a length exceeds T.
        """
        ends = self.execution.ends
        if ends is None:
            return
        modules = self.modules()
        taken = {key: self.steps_of(module) for key, module in modules.items()}
        if not taken and steps is None:
            raise ValueError(
                "lengths end what neurons do, got a call that runs none of them; leave lengths out"
            )
        steps = max(n for each in taken.values() for n in each) if steps is None else steps
        for key, each in taken.items():
            if each != {steps}:
                path, title = self.names.get(key, ("", type(modules[key]).__name__))
                raise ValueError(
                    f"lengths count steps that every neuron takes once, got {title} {path!r} with "
                    f"{min(each)} of {steps} steps in a row; write one neuron for each layer, and "
                    "reset none inside the loop"
                )
        checked_lengths(ends, steps, None)

    def _padded(self, module: Any, x: Any, state: Any, named: Any, obstacle: str) -> Any:
        """Compute a call immediately; samples that have ended give 0 and keep their state."""
        ends = self.execution.ends
        assert ends is not None
        done = max(self.steps_of(module), default=0)
        self.held[id(module)] = module
        if module.mode != "step":
            if named or getattr(module, "overridden", ()):
                raise ValueError(
                    f"lengths: {type(module).__name__} cannot run padded recordings ({obstacle}); "
                    "write one call for each recording, or neurons in step mode"
                )
            return self._padded_sequence(module, x, state, ends - done, done)
        self.immediate[id(module)] = done + 1
        before, axis, alive = self._last_valid(module), module.batch_axis, ends > done
        found = module.called(x, *state, **named)
        output = found[0] if isinstance(found, tuple) else found
        output = alive_or(alive, output, torch.zeros_like(output))
        new = module._hidden
        if new is None:
            return (output, *found[1:]) if isinstance(found, tuple) else output
        if done and before is not None and axis is not None:
            pairs = zip(new, before, strict=True)
            new = module.State(*(alive_or(alive, a, b.to(a.dtype), axis) for a, b in pairs))
            module._hidden = new
        self._fired(module)
        return module.returned(output, _shown(new, output))

    def _last_valid(self, module: Any) -> Any:
        """Return the state in front of a step, with the last spikes of samples that have ended."""
        fired = self.execution.fired.get(id(module))
        hidden = module._hidden
        return hidden if fired is None or hidden is None else hidden._replace(spk=fired)

    def _fired(self, module: Any) -> None:
        """Remember the last spikes where recorded steps, which pass on others, may follow."""
        if id(module) in self.execution.fired:
            self.execution.fired[id(module)] = module._hidden.spk

    def _padded_sequence(self, module: Any, x: Any, state: Any, ends: Tensor, done: int) -> Any:
        """Run all steps of a module in sequence mode immediately, see `_padded`."""
        self.immediate[id(module)] = done + len(x)
        before = self._last_valid(module)
        ends = ends.clamp(0, len(x))
        options = {"ends": ends} if module.takes_ends else {}
        output, states = module.advance(x, *state, sequence=True, **options)
        output = cut(output, ends)
        if isinstance(module, Neuron):
            # all samples take part in the first step, so that no state is needed before it
            start = before if done and before is not None else (value[0] for value in states)
            frozen = (held(value, old, ends) for value, old in zip(states, start, strict=True))
            states = module.State(*frozen)
            module._hidden = module.State(*(value[-1] for value in states))
            self._fired(module)
        return module.returned(output, _shown(states, output))


def _shown(state: Any, output: Tensor) -> Any:
    """Return a state whose spikes, if it holds any, are the output."""
    return state._replace(spk=output) if "spk" in state._fields else state


def _outlined(layer: StatefulLayer, info: Info, start: list[Any]) -> tuple[list[Info], bool]:
    x = info.blank(leaf=True)
    state = None
    if start:
        state = layer.module.State(*(Info.of(value).blank(leaf=True) for value in start))
    first = layer.step(x, state)
    found = [Info.of(value) for value in first]
    if not any(value.requires_grad for value in found):
        return found, True
    # some states carry a gradient only from the second step on
    second = layer.step(x, layer.module.State(*(first[out] for out in layer.outs)))
    pairs = zip(found, second, strict=True)
    return found, all(one.requires_grad == later.requires_grad for one, later in pairs)


def _layer_type(module: Any) -> type[StatefulLayer]:
    if not isinstance(module, Neuron):
        return StatefulLayer
    return NeuronLayer if _is_plain(type(module)) else ScannedLayer


def _is_plain(kind: type) -> bool:
    """Whether a class of neurons runs a sequence by its transition alone."""
    return all(getattr(kind, name) is getattr(Neuron, name) for name in _DOORS)


@cache
def _is_known(kind: type) -> bool:
    """Whether a class leaves the library's methods for calling and running it unchanged.

    A subclass may declare its own equations and state. A subclass that overrides how it is called,
    started or run is called at every step.
    """
    ours = next(c for c in kind.__mro__ if c.__module__.startswith("spikeloom."))
    names = (*_DOORS, "called", "advance")
    return all(getattr(kind, name, None) is getattr(ours, name, None) for name in names)
