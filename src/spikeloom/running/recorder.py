"""The recorder intercepts every torch function of a call and records or computes it.

While it is active, Python runs normally at every step. Functions listed in the tables are
recorded. When the program needs a value, the recorder computes what the value depends on and
continues recording. At the end, every deferred tensor that is still referenced becomes an ordinary
tensor in place.
"""

import sys
import threading
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..core import recording
from . import memory, modes
from .arguments import CONSTANTS
from .deferred import Deferred, Info, Refused, user_line
from .execution import Execution
from .program import Layer, Need
from .special_layers import NOT_TOGETHER
from .stateful import StatefulModules
from .stateful_layers import StatefulLayer
from .tables import FRESH, IN_PLACE, INFO, KINDS, LIKE

__all__ = ["Recorder"]

_ON_META = ("device", "is_cuda", "is_meta", "get_device")  # wrong on a meta tensor


class Recorder(StatefulModules, TorchFunctionMode):
    """Records the calls inside its ``with`` block; `finish` computes the remaining layers.

    Args:
        execution: runs the recorded layers.
        names: see `Record`.
    """

    def __init__(self, execution: Execution, names: dict[int, tuple[str, str]]) -> None:
        TorchFunctionMode.__init__(self)
        StatefulModules.__init__(self, execution, names)
        execution.hooked = modes.saving_hooks()
        self.thread = threading.get_ident()

    def __enter__(self) -> Any:
        recording.local.recorder = self
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        recording.local.recorder = None
        super().__exit__(*error)

    # -- every torch function ----------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if maybe_current_level() is not None:  # a transform of torch.func
            return self._in_transform(func, args, kwargs or {})
        layer = self.last.following
        if layer is not None and layer.function is func and not (self.epochs or self.off):
            if layer.kind == "index":
                at = self.expected_item(layer, *args)
            else:
                at = self._expected(layer, args, kwargs)
            if at is not None:
                return self.again(layer, at, args)
        kwargs = kwargs or {}
        kind = KINDS.get(func)
        if kind is not None and self._recordable(kwargs):
            return self.call(func, kind, args, kwargs)
        if func in INFO:
            return _described(func, args, kwargs)
        return self.other(func, args, kwargs)

    def _recordable(self, kwargs: dict[str, Any]) -> bool:
        if self.off or "out" in kwargs or torch.is_inference_mode_enabled() is not self.inference:
            return False
        return modes.saving_hooks() is self.execution.hooked

    def _expected(
        self, layer: Layer, args: Any, kwargs: dict[str, Any] | None
    ) -> tuple[int, ...] | None:
        """Return what a call reads if the same call came next in the step before; else None.

        Compares identities with those of that step, which costs less than a key.
        """
        pattern = layer.pattern
        if pattern is None or modes.current() is not layer.modes:
            return None
        if kwargs or layer.names:
            if tuple(kwargs or ()) != layer.names:
                return None
            args = (*args, *(kwargs or {}).values())
        if len(pattern) != len(args):
            return None
        at = ()
        for value, (wanted, key) in zip(args, pattern):  # noqa: B905 (of equal length)
            if value is wanted:
                continue
            if type(value) is Deferred:
                if value.key != key:
                    return None
                at += (value.index,)
            elif key is not None or not _are_equal(value, wanted):
                return None
        for value, seen in layer.reals:
            if value._version != seen:
                return None
        return at

    def computed(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        leaves = pytree.tree_leaves((args, kwargs))
        if any(type(value) is Deferred for value in leaves):
            return self.on_values(function, args, kwargs)
        self.before_write(function, leaves, kwargs)
        return function(*args, **kwargs)

    def other(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute a function that is in no table or that cannot be recorded here."""
        name = getattr(function, "__name__", "")
        if self.execution.batch_norm == "time" and "batch_norm" in name:
            training = kwargs.get("training", args[5] if len(args) > 5 else False)
            if training:
                raise ValueError(NOT_TOGETHER)
        if not self.off:
            plain = IN_PLACE.get(function)
            if plain is not None and type(args[0]) is Deferred and "out" not in kwargs:
                return self.rebind(args[0], plain, args, kwargs)
            if function in LIKE and type(args[0]) is Deferred:
                made = function(args[0].info.blank(), *args[1:], **kwargs)
                return self.given((function, args[0].info.sign[:3]), made)
            if function in FRESH and not kwargs.get("requires_grad"):
                if not all(type(value) in CONSTANTS for value in (*args, *kwargs.values())):
                    args, kwargs = pytree.tree_map(self.value, (args, kwargs))
                made = function(*args, **kwargs)
                if type(made) is not Tensor or made.numel() == 0:
                    return made  # unpickling gives an empty tensor its memory inside C
                if not made.untyped_storage().resizable():  # memory that numpy owns
                    made = made.clone()
                return self.given((function, Info.of(made).sign[:3]), made)
        return self.on_values(function, args, kwargs)

    def applied(self, function: Any, args: Any) -> Any:
        """Compute an ``autograd.Function`` of the user immediately, with its own backward."""
        self.force(f"{function.__name__}.apply")
        with torch._C.DisableTorchFunction():
            values = pytree.tree_map(self.value, args)
        off = self.off
        self.off = True  # recorded values that its forward reads from a closure are computed then
        try:
            result = function.apply(*values)
        finally:
            self.off = off
        received = {id(v) for v in pytree.tree_leaves(values)}
        several = type(result) is tuple
        with torch._C.DisableTorchFunction():
            found = [
                self._held((function, i), value, id(value) in received)
                for i, value in enumerate(result if several else (result,))
            ]
        return tuple(found) if several else found[0]

    def _held(self, key: Any, value: Any, is_input: bool) -> Any:
        """Return the placeholder of a tensor; C would cut the graph of the tensor itself."""
        if type(value) is not Tensor:
            return value
        if value.requires_grad:
            value = value.clone() if is_input else value  # an input that was written
        elif is_input or value._is_view() or self.off:
            return value
        return self.given((*key, Info.of(value).sign), value)

    def outside(self, original: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute a call that needs the values of its arguments and of its closure."""
        self.force(getattr(original, "__name__", "checkpoint"))
        with torch._C.DisableTorchFunction():
            self.settle_visible()
            args, kwargs = pytree.tree_map(self.value, (args, kwargs))
        off = self.off
        self.off = True
        try:
            return original(*args, **kwargs)
        finally:
            self.off = off

    def _in_transform(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if any(type(value) is Deferred for value in pytree.tree_leaves((args, kwargs))):
            raise Refused(
                f"a transform of torch.func reads a recorded value at {user_line()}; call the loop "
                "without snn.layerwise, or the transform outside it"
            )
        return function(*args, **kwargs)

    # -- the end -----------------------------------------------------------------------------------

    def alive(self, leaves: list[Any]) -> tuple[list[int], Need]:
        """Return the numbers of values referenced outside ``leaves``, and all visible values."""
        returned = Counter(id(value) for value in leaves if type(value) is Deferred)
        held = []
        need: Need = {}
        for number in range(len(self.deferred)):
            others = sys.getrefcount(self.deferred[number]) - 2  # without the list and this call
            if others and type(self.deferred[number]) is Deferred:
                value = self.deferred[number]
                uses = returned[id(value)]
                if others > uses or not uses:
                    held.append(number)
                outputs = need.setdefault(value.layer, {})
                outputs.setdefault(value.out, set()).add(value.index)
        return held, need

    def piece(self) -> None:
        """Compute the visible values and release those that nothing can read any more."""
        visible = self.alive([])[1]
        recording.local.recorder = None  # calls inside a segment are not the user's
        try:
            with torch._C.DisableTorchFunction():
                memory.run_segment(self.execution, visible)
                self._let_go(visible)
        finally:
            recording.local.recorder = self
        self.writers.clear()

    def _let_go(self, visible: Need) -> None:
        """Release all values but the visible ones and those that are constant in time."""
        execution = self.execution
        for layer in execution.pending():
            execution.values.skip(layer, len(layer.occurrences))
        for layer in self.layers:
            if len(layer.occurrences) > 1:
                layer.seen.clear()
            else:
                visible[layer.number] = {out: {0} for out in range(len(layer.infos))}
        execution.values.keep(visible)

    def finish(self, result: Any) -> Any:
        """Compute the visible values and return ``result`` with ordinary tensors.

        Values that the user keeps elsewhere (lists, attributes, states of neurons) become
        ordinary tensors in place.
        """
        with torch._C.DisableTorchFunction():
            leaves, spec = pytree.tree_flatten(result)
            del result
            self.snapshots.clear()
            held, need = self.alive(leaves)
            memory.run_segment(self.execution, need, last=True)
            self.check_shared()
            for number in held:
                value = self.deferred[number]
                if type(value) is Deferred:
                    self.become_ordinary(value)
            given: set[int] = set()
            memo: dict[int, Any] = {}
            for value in leaves:
                if type(value) is Deferred and id(value) not in memo:
                    memo[id(value)] = self._returned(value, given)
            values = [memo.get(id(value), value) for value in leaves]
            self._leave()
            return pytree.tree_unflatten(values, spec)

    def _leave(self) -> None:
        """Set the last valid states of padded recordings that differ from the last outputs."""
        if self.execution.ends is None:
            return
        for layer in self.layers:
            if isinstance(layer, StatefulLayer):
                layer.leave(self.execution)
        for key in self.immediate:
            module = self.held[key]
            if module.batch_axis is None:
                module.forget_padded()

    def release(self) -> None:
        """Drop all references, so that results are freed without the garbage collector."""
        for layer in self.layers:
            layer.following = None
        for part in (self.deferred, self.keys, self.held, self.memos, self.mutated):
            part.clear()
        if self.execution.memory != "checkpoint":  # a checkpoint runs layers again in backward
            self.layers.clear()
        self.lead = None
        self.execution.values.parts.clear()

    def _returned(self, deferred: Deferred, given: set[int]) -> Tensor:
        """Return a value as a separate tensor; copies it only if it would share memory."""
        if self.rooted(deferred.number):
            return self.ordinary(deferred)
        layer = self.layers[deferred.layer]
        value = self.execution.values.one(deferred.layer, deferred.out, deferred.index)
        storage = value.untyped_storage()._cdata
        with torch.enable_grad():
            if value.stride() != deferred.info.stride:
                value = value.contiguous()
            shared = value._is_view() or storage in given or storage in self.readers
            if shared or layer.kind == "given":
                value = value.clone()
        given.add(value.untyped_storage()._cdata)
        return value


def _described(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute a function that reads only the metadata of a tensor."""
    value = args[0]
    if type(value) is not Deferred:
        return function(*args, **kwargs)
    name = function.__name__
    if name == "__get__":
        name = function.__self__.__name__
    info = value.info
    if name == "requires_grad":
        return info.requires_grad
    if name == "is_leaf":
        return not info.requires_grad
    if name in _ON_META:
        return function(torch.empty(0, device=info.device), *args[1:], **kwargs)
    twin = torch.empty_strided(info.shape, info.stride, dtype=info.dtype, device="meta")
    return function(twin, *args[1:], **kwargs)


def _are_equal(a: Any, b: Any) -> bool:
    """Whether two numbers are the same in every computation; 0.0 == -0.0, but 1 / 0.0 differs."""
    return type(a) is type(b) and a == b and a != 0
