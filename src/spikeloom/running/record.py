"""Records a program: groups operations into layers and returns placeholders for their results.

The key of an operation consists of its function, its constants, the layers of its recorded
arguments and the modes. Operations with equal keys are occurrences of one layer. Occurrences
that read the same values are computed once.
"""

from collections import Counter
from collections.abc import Sequence
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

import torch
from torch import Tensor, nn

from ..core.parameters import version
from . import modes
from .arguments import CONSTANTS, expectation, is_predictable, worth_recording
from .deferred import Deferred, Info, Refused, user_line
from .execution import Execution
from .outlines import inferred
from .program import Layer, Output, Slot

__all__ = ["Record", "Unknown"]

PIECE = 8_000_000  # values of recorded results after which what is pending runs, so that a
# recording of any length needs little memory besides what autograd keeps
WITH_GRADIENTS = 8  # times as many where autograd keeps most of them anyway
FIELDS = 7  # attributes of a placeholder; it has more if it shares memory or the program set them
UNREPEATED = 60  # layers after which a program that hardly repeats is not recorded any further,
OF_NAMES = 15  # for so many modules and weights: a step of a deep network has many layers

_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes
_wrapper: Any = Tensor._make_wrapper_subclass  # pyright: ignore[reportAttributeAccessIssue]


class Unknown(Exception):
    """Raised for an argument that cannot be part of a key."""


class Record:
    """The record of one call.

    Args:
        execution: runs the recorded layers.
        names: path and type of each module, by the ``id`` of the module and of its weights.
    """

    def __init__(self, execution: Execution, names: dict[int, tuple[str, str]]) -> None:
        self.execution = execution
        self.layers = execution.layers
        self.names = names
        self.keys: dict[Any, Layer] = {}
        self.deferred: list[Any] = []  # every Deferred; settled ones are ordinary tensors
        self.made = 0  # results of operations so far
        self.held: dict[int, Any] = {}  # keeps objects alive whose ``id`` is part of a key
        self.forced: Counter[tuple[str, str]] = Counter()
        self.readers: set[int] = set()  # storages that recorded layers read
        self.mutated: dict[int, Tensor] = {}  # storages written during the recording
        self.epochs: dict[int, int] = {}  # by storage, writes that ``_version`` does not count
        self.snapshots: dict[int, Deferred] = {}
        self.shared: dict[int, tuple[Tensor, int]] = {}  # in shared memory, by id, and their sums
        self.off = False
        self.last = Layer("start", "start", (), "")  # the layer of the last operation
        self.size = 0  # elements that are recorded and not computed yet
        self.lead: Layer | None = None  # the first layer with a second occurrence
        self.inference = torch.is_inference_mode_enabled()

    def other(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute a function that is not recorded."""
        raise NotImplementedError

    def computed(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute a function of the tables immediately."""
        raise NotImplementedError

    def aliased(self, result: Deferred, source: Any, layer: Layer, args: Sequence[Any]) -> None:
        """Record that a result shares memory with ``source``."""
        raise NotImplementedError

    def before_read(self, value: Tensor) -> None:
        """Run the recorded writes to a tensor."""
        raise NotImplementedError

    def piece(self) -> None:
        """Run the pending layers before they grow too large."""
        raise NotImplementedError

    def force(self, name: str) -> None:
        """Count an operation that was computed immediately, with the user's line."""
        self.forced[name, user_line()] += 1

    # -- keys ----------------------------------------------------------------------------------

    def operation(self, function: Any, kind: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Record one call and return the placeholder of its result."""
        mode = modes.current()
        key: list[Any] = [function, mode]
        at: list[int] = []
        try:
            for value in args:
                self.add_key(value, key, at)
            for name in sorted(kwargs):
                key.append(name)
                self.add_key(kwargs[name], key, at)
        except Unknown:
            return self.computed(function, args, kwargs)
        if not at and not any(worth_recording(value) for value in args):
            return self.computed(function, args, kwargs)
        layer = self.keys.get(found := tuple(key))
        if layer is None:
            layer = self.create(found, function, kind, mode, args, kwargs)
            if layer is None:
                return self.computed(function, args, kwargs)
        return self.occur(layer, tuple(at), args)

    def add_key(self, value: Any, key: list[Any], at: list[int]) -> None:
        """Append the identity of an argument to ``key`` and its occurrence to ``at``."""
        kind = type(value)
        if kind is Deferred:
            if value.recorder is not self:
                raise Refused(f"a value of another recording is used at {user_line()}")
            key.append(value.key)
            at.append(value.index)
        elif kind in CONSTANTS:
            key.append(value)
            key.append(kind if value != 0 else repr(value))  # 0.0 == -0.0, but 1 / 0.0 differs
        elif kind is tuple or kind is list or kind is torch.Size:
            key.append(len(value))
            for item in value:
                self.add_key(item, key, at)
        elif kind is Tensor or kind is nn.Parameter:
            snapshot = self.snapshot(value) if kind is Tensor else None
            if snapshot is None:
                key.append(self.identity(value))
            else:
                key.append(snapshot.key)
                at.append(snapshot.index)
        elif kind is slice:
            key.append((value.start, value.stop, value.step))
        else:
            raise Unknown

    def identity(self, value: Tensor) -> Any:
        """Return the part of a key that identifies a tensor and its version."""
        self.held[id(value)] = value
        if not self.epochs:
            return id(value), version(value)
        epoch = self.epochs.get(value.untyped_storage()._cdata, 0)
        return id(value), version(value), epoch

    def may_change(self, value: Tensor) -> bool:
        """Whether a tensor may be written before a recorded operation reads it.

        True if it was written earlier in this recording or if numpy owns its memory. Memory that
        processes share, as of a batch from a worker of a loader, is compared at the end instead:
        a copy of each step would cost several times the batch.
        """
        storage = value.untyped_storage()
        if storage._cdata in self.mutated or storage.resizable():
            return storage._cdata in self.mutated
        if not storage.is_shared():
            return True
        if id(value) not in self.shared:
            self.shared[id(value)] = value, _sum_of(value)
        return False

    def check_shared(self) -> None:
        """Check that memory that processes share was not written during the recording.

        Raises:
            Refused: it was, by numpy or another process; writes of torch are recorded.
        """
        for value, before in self.shared.values():
            by_torch = value.untyped_storage()._cdata in self.mutated
            if not by_torch and _sum_of(value) != before:
                raise Refused(
                    "a tensor in shared memory was written during the call, by numpy or by another "
                    "process; pass a copy, tensor.clone()"
                )

    def snapshot(self, value: Tensor) -> Deferred | None:
        """Return a placeholder of a tensor's current content; None if it cannot change."""
        if not self.may_change(value):
            return None
        self.before_read(value)
        old = self.snapshots.get(id(value))
        comparable = old is not None and not value.requires_grad and old.shape == value.shape
        if comparable and torch.equal(self.value(old), value):
            return old
        self.held[id(value)] = value
        key = ("snapshot", value.untyped_storage()._cdata, Info.of(value).sign)
        self.snapshots[id(value)] = found = self.given(key, value.clone())
        return found

    def stable(self, value: Tensor) -> Tensor:
        """Return the tensor, or a placeholder of its current content if it may change."""
        snapshot = self.snapshot(value) if type(value) is Tensor else None
        return value if snapshot is None else snapshot

    # -- layers ----------------------------------------------------------------------------------

    def create(
        self, key: Any, function: Any, kind: str, mode: Any, args: Any, kwargs: dict[str, Any]
    ) -> Layer | None:
        """Create a layer; None if the function cannot be recorded for these arguments."""
        layer = Layer(function, kind, mode, user_line())
        signs: list[Any] = []
        layer.args = tuple(self._template(value, layer, signs) for value in args)
        layer.kwargs = {n: self._template(kwargs[n], layer, signs) for n in sorted(kwargs)}
        sign = (function, mode, self.inference, tuple(sorted(kwargs)), tuple(signs))
        known = inferred(sign, function, args, kwargs)
        if known is None:
            return None
        layer.infos, layer.wrap, layer.alias = known
        self.keys[key] = layer
        self.enter(layer)
        values = [*args, *kwargs.values()]
        # slots are numbered by the sorted names, an expected call by their order
        by_name = any(type(value) is Deferred for value in kwargs.values())
        counted = all(seen >= 0 for _, seen in layer.reals)  # not so for inference tensors
        usual = all(map(is_predictable, values)) and counted and not by_name
        if usual and not self.inference and kind != "index":
            layer.pattern = [expectation(value) for value in values]
            layer.names = tuple(kwargs)
        return layer

    def _template(self, value: Any, layer: Layer, signs: list[Any]) -> Any:
        """Return an argument with each recorded value replaced by a slot."""
        if isinstance(value, Tensor):
            value = self.stable(value)
            if type(value) is Deferred:
                signs.append(value.info.sign)
                layer.slots.append(slot := Slot(len(layer.slots), value.layer, value.out))
                return slot
            signs.append(Info.of(value).sign)
            layer.reals.append((value, version(value)))
            return value
        if type(value) in (tuple, list, torch.Size):
            signs.append(len(value))
            items = (self._template(item, layer, signs) for item in value)
            return list(items) if type(value) is list else tuple(items)
        signs.append(repr(value))
        return value

    def enter(self, layer: Layer) -> None:
        """Append a layer to the program."""
        layer.number = len(self.layers)
        layer.is_plain = layer.alias is None and layer.wrap is None
        numbered = enumerate(layer.infos)
        layer.outputs = [Output(self, layer.number, out, info) for out, info in numbered]
        own = layer.infos and layer.alias is None  # a view has no memory of its own
        layer.size = layer.infos[0].shape.numel() if own else 0
        self.layers.append(layer)
        for real, _ in layer.reals:
            self.readers.add(real.untyped_storage()._cdata)
            if id(real) in self.names:
                layer.name, layer.title = self.names[id(real)]
                layer.is_module = True
        most = UNREPEATED * (1 + len(self.names) // OF_NAMES)
        hardly = layer.number > most and self.made < 2 * layer.number
        if hardly and self.execution.batch_norm != "time":
            self.off = True

    # -- occurrences -------------------------------------------------------------------------------

    def occur(self, layer: Layer, at: tuple[Any, ...], args: Any = ()) -> Any:
        """Add one occurrence to a layer and return the placeholders of its outputs."""
        self.last.following = layer
        return self.again(layer, at, args)

    def again(self, layer: Layer, at: tuple[Any, ...], args: Any) -> Any:
        """As `occur`, for the operation that also came next in the step before."""
        self.last = layer
        index = layer.seen.get(at)
        if index is None:
            self.size += layer.size
            if layer is self.lead or self.lead is None:
                self.grow(layer)
            occurrences = layer.occurrences
            index = layer.seen[at] = len(occurrences)
            occurrences.append(at)
        else:
            layer.shared.add(index)
        if layer.is_plain:
            return self.defer(layer.outputs[0], index)
        if layer.alias == "self":
            return args[0]
        if layer.wrap is None:
            result = self.defer(layer.outputs[0], index)
            if layer.alias == "view":
                self.aliased(result, args[0], layer, args)
            return result
        return layer.wrap([self.defer(output, index) for output in layer.outputs])

    def grow(self, layer: Layer) -> None:
        """Run the pending layers at the start of a step if they have grown too large.

        Statistics of all steps need all steps at once, however large they are.
        """
        if layer.occurrences and self.lead is None:
            self.lead = layer
        most = PIECE * (WITH_GRADIENTS if torch.is_grad_enabled() else 1)
        if self.lead is layer and self.size > most and self.execution.batch_norm != "time":
            self.size = 0
            self.piece()

    def defer(self, output: Output, index: int) -> Deferred:
        """Return the placeholder of an occurrence, an abandoned one of the output if possible."""
        self.made += 1
        deferred = self.deferred
        recent = output.recent
        number = recent[index & 1]  # the last one is usually still in use
        if number >= 0 and getrefcount(deferred[number]) == 2:  # the list, and the call
            old = deferred[number]
            fields = old.__dict__  # one that has become ordinary has no key
            same = len(fields) == FIELDS and fields.get("key") == output.key
            if same and old._use_count() == 1 and not getweakrefcount(old):
                fields["index"] = index
                return old
        number = recent[index & 1] = len(deferred)
        info = output.info
        # strides, offset and memory format are open; torch parses positions faster than names
        result = _wrapper(
            Deferred, info.shape, None, None, None, info.dtype, torch.strided, info.device
        )
        fields = result.__dict__
        fields.update(output.fields)
        fields["index"] = index
        fields["number"] = number
        deferred.append(result)
        return result

    def given(self, key: Any, value: Tensor) -> Deferred:
        """Return a placeholder of a tensor that is already computed and has no other owner."""
        key = ("given", key, value.requires_grad)
        layer = self.keys.get(key)
        if layer is None:
            layer = Layer("given", "given", modes.current(), user_line())
            layer.infos = [Info.of(value)]
            self.keys[key] = layer
            self.enter(layer)
        index = len(layer.occurrences)
        layer.occurrences.append(())
        self.execution.values.given(layer, value)
        return self.defer(layer.outputs[0], index)

    def value(self, deferred: Any) -> Any:
        """Return the value of a deferred tensor, computing it if needed; others unchanged."""
        if type(deferred) is not Deferred:
            return deferred
        layer = self.layers[deferred.layer]
        values = self.execution.values
        if deferred.index >= values.done.get(layer.number, 0):
            self.execution.run_for({layer.number: {deferred.out: {deferred.index}}})
        return values.one(deferred.layer, deferred.out, deferred.index)


def _sum_of(value: Tensor) -> int:
    """Return the sum of a tensor's elements, their bits read as whole numbers."""
    value = value.detach()
    if value.is_complex():
        value = torch.view_as_real(value)
    return int(value.view(_WHOLE[value.element_size()]).sum())
