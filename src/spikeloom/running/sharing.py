"""Shared and written memory: views, in-place functions, and values that become real early.

An in-place function on a recorded value rebinds it to a new result. If a view is involved, the
value and every value that shares its memory become ordinary tensors (they are *settled*), and the
function runs on them. Before a tensor is written, the recorded operations that read it run.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from . import modes
from .deferred import OWN, Deferred, Refused, user_line
from .program import Layer
from .record import Record
from .tables import BACKWARD, GRAPH_POINTS, IN_PLACE, INFO, KINDS, READS, VIEWS

__all__ = ["Sharing"]

_WRITES = ("__setitem__", "__set__", "backward", "batch_norm", "__get__", "numpy", "__array__")
_WRITES += ("data_ptr", "untyped_storage")  # give access to memory that may be written unseen
_WRITE_PREFIXES = ("_foreach", "_fused", "__i")


class Sharing(Record):
    """A record that tracks which values share memory."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.views: dict[int, list[int]] = {}  # numbers of the views of a deferred value
        self.parents: dict[int, tuple[Any, Layer, Any]] = {}  # of a view: base, layer, arguments
        self.real_views: dict[int, list[int]] = {}  # deferred views of a storage
        self.writers: dict[int, Layer] = {}  # buffers whose update is recorded and not computed yet

    def run_pending(self) -> None:
        """Run everything recorded so far, updates of buffers included."""
        self.execution.run_all()
        self.writers.clear()

    def aliased(self, result: Deferred, source: Any, layer: Layer, args: Sequence[Any]) -> None:
        if type(source) is Deferred:
            vars(result)["shared"] = vars(source)["shared"] = True
            self.parents[result.number] = source.number, layer, args[1:]
            self.views.setdefault(source.number, []).append(result.number)
        elif isinstance(source, Tensor):
            self.parents[result.number] = source, layer, args[1:]
            if layer.real_views is None:
                storage = source.untyped_storage()._cdata
                layer.real_views = self.real_views.setdefault(storage, [])
            layer.real_views.append(result.number)

    def parent(self, number: int) -> Any:
        """Return what a value shares memory with: an earlier value, a tensor, or None."""
        found = self.parents.get(number)
        if found is None:
            return None
        base = found[0]
        return self.deferred[base] if isinstance(base, int) else base

    def rooted(self, number: int) -> bool:
        """Whether a value shares memory with an ordinary tensor."""
        while number in self.parents:
            base = self.parents[number][0]
            if not isinstance(base, int) or type(self.deferred[base]) is not Deferred:
                return True
            number = base
        return False

    # -- in place --------------------------------------------------------------------------------

    def rebind(self, target: Deferred, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Record an in-place function on a recorded value, which then represents the result.

        Args:
            target: the value.
            function: what the in-place function computes.
            args: arguments, ``target`` first.
            kwargs: keyword arguments, without ``inplace``.
        """
        if target.number not in self.views and target.number not in self.parents:
            new = self.operation(function, KINDS[function], args, kwargs)
            same = type(new) is Deferred and new is not target
            if same and new.shape == target.shape and new.dtype == target.dtype:
                self.views.pop(new.number, None)
                self.parents.pop(new.number, None)
                own = {k: v for k, v in new.__dict__.items() if k != "number"}
                vars(target).update(own)
                return target
        self.settle(target)
        args, kwargs = pytree.tree_map(self.value, (args, kwargs))
        twins = (f for f, plain in IN_PLACE.items() if plain is function and f.__name__[:2] != "__")
        in_place = next(twins, None)
        if in_place is None:
            in_place = function
            kwargs = {**kwargs, "inplace": True}
        with torch._C.DisableTorchFunction():
            self.before_write(in_place, (target,), {"inplace": True})
            return in_place(*args, **kwargs)

    # -- values that become real -------------------------------------------------------------------

    def settle(self, target: Deferred, point: str = "") -> None:
        """Make a value, and every value that shares memory with it, ordinary tensors immediately.

        Args:
            target: the value.
            point: name of the function that needs this particular tensor in the graph of autograd.
        """
        root = target
        while type(self.parent(root.number)) is Deferred:
            root = self.parent(root.number)
        if point and target.info.requires_grad:
            self._allow_point(root, point)
        elif point:
            self.run_pending()  # a leaf from now on; earlier readers have no gradient
        family = [root]
        pending = [root]
        while pending:
            for number in self.views.pop(pending.pop().number, ()):
                family.append(self.deferred[number])
                pending.append(self.deferred[number])
        for member in family:
            if type(member) is not Deferred:
                continue
            place = member.layer, member.out, member.index
            if point and member is target:
                self.value(member)  # operations recorded so far read the tensor that is made here
            self.become_ordinary(member)
            if point and member is target:
                self.execution.values.replace(*place, member)

    def become_ordinary(self, deferred: Deferred) -> None:
        """Turn a value into an ordinary tensor in place, so that all references see it."""
        place = deferred.layer, deferred.out, deferred.index
        own = self._own_value(deferred)
        value = self.ordinary(deferred) if own is None else own
        if not (_exchanged(deferred, value) or _exchanged(deferred, _twin(value))):
            raise Refused(
                f"the value made at {self.layers[place[0]].where} is held by C++ or by another "
                "thread; hand it on after the call, or run this loop without snn.layerwise"
            )
        if own is not None:
            self.execution.values.replace(*place, deferred)
            self.readers.add(deferred.untyped_storage()._cdata)

    def _own_value(self, deferred: Deferred) -> Tensor | None:
        """Return the computed value itself if nothing else refers to it; a hook then acts on it."""
        layer = self.layers[deferred.layer]
        if self.parent(deferred.number) is not None or deferred.index in layer.shared:
            return None
        self.value(deferred)
        value = self.execution.values.single(deferred.layer, deferred.out, deferred.index)
        if value is None or value._is_view() or value.stride() != deferred.info.stride:
            return None
        if (value.is_leaf and value.requires_grad) or sys.getrefcount(value) > 3:
            return None  # more than the list, `value` and the call refer to it
        layer.seen.pop(layer.occurrences[deferred.index], None)  # an equal call is computed anew
        return value

    def settle_visible(self) -> None:
        """Make every value that the program still references an ordinary tensor."""
        for number in range(len(self.deferred)):
            if sys.getrefcount(self.deferred[number]) > 2:
                value = self.deferred[number]
                if type(value) is Deferred:
                    self.settle(value)

    def _allow_point(self, root: Deferred, point: str) -> None:
        layer = self.layers[root.layer]
        goes_on = layer.chain and root.index < len(layer.occurrences) - 1
        if layer.consumed or goes_on:
            raise Refused(
                f"{point} at {user_line()} needs gradients at a value that later steps have "
                "already "
                "read inside one layer over time; call it in the step that makes the value, or run "
                "this loop without snn.layerwise"
            )

    def ordinary(self, deferred: Deferred) -> Tensor:
        """Return a value as a tensor that shares memory as it would in the plain loop."""
        base = self.parent(deferred.number)
        if type(base) is Deferred and self.rooted(base.number):
            base = self.ordinary(base)
        if base is None or type(base) is Deferred:
            value = self.value(deferred)
            options = {}
            if value.stride() != deferred.info.stride:
                options = {"memory_format": torch.contiguous_format}
            with torch._C.DisableTorchFunction(), torch.enable_grad():
                return torch.clone(value, **options)
        _, layer, rest = self.parents[deferred.number]
        with modes.under(layer.modes):
            return layer.function(base, *rest, **layer.kwargs)

    # -- functions that are not recorded -----------------------------------------------------------

    def on_values(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute a function of recorded values immediately, and count it for the plan."""
        leaves = pytree.tree_leaves((args, kwargs))
        recorded = [value for value in leaves if type(value) is Deferred]
        if recorded and modes.saving_hooks() is not self.execution.hooked:
            self.settle_visible()  # checkpointing keeps arguments where they cannot be replaced
            recorded = [value for value in recorded if type(value) is Deferred]
        if recorded:
            name = getattr(function, "__name__", str(function))
            if name == "__get__":
                name = getattr(function.__self__, "__name__", name)
            self.force(name)
            if function in READS or self._leaves_memory_alone(function, args, kwargs):
                args, kwargs = pytree.tree_map(self.value, (args, kwargs))
                return function(*args, **kwargs)
            self._settle_all(function, name, recorded, args, kwargs)
        if function in BACKWARD:
            self.run_pending()
            self.forget_graphs()
            if self.execution.fused:  # steps with separate graphs in a plain loop share one here
                kwargs = {**kwargs, "retain_graph": True}
        self.before_write(function, leaves, kwargs)
        return function(*args, **kwargs)

    def forget_graphs(self) -> None:
        """Stop reusing results computed so far, because a backward pass frees their graphs."""
        for layer in self.layers:
            if any(info.requires_grad for info in layer.infos):
                layer.seen.clear()

    def _leaves_memory_alone(self, function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        kinds = ("map", "fold", "axes", "each", "matmul")
        pure = KINDS.get(function) in kinds and function not in VIEWS
        writes = "out" in kwargs or kwargs.get("inplace") or any(value is True for value in args)
        return pure and not writes

    def _settle_all(
        self, function: Any, name: str, recorded: list[Any], args: Any, kwargs: dict[str, Any]
    ) -> None:
        points = recorded if function in GRAPH_POINTS else []
        if function is torch.autograd.grad:
            inputs = kwargs.get("inputs", args[1] if len(args) > 1 else ())
            points = [v for v in pytree.tree_leaves(inputs) if type(v) is Deferred]
        for value in points:
            if type(value) is Deferred:
                self.settle(value, point=name)
        for value in recorded:
            if type(value) is Deferred:
                self.settle(value)

    def before_write(self, function: Any, leaves: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Run the recorded reads of a tensor before it is written, and its writes before a read."""
        if function in INFO:
            return
        reals = [v for v in leaves if isinstance(v, Tensor) and type(v) is not Deferred]
        reals = [v for v in reals if v.layout is torch.strided and not is_lazy(v)]
        if not reals:
            return
        name = getattr(function, "__name__", "")
        writes = _writes(function, name, kwargs)
        for value in reals:
            storage = value.untyped_storage()._cdata
            read = storage in self.readers
            if (writes and read) or storage in self.writers:
                self.run_pending()
            if writes and read:  # writes through .data do not change the version
                self.epochs[storage] = self.epochs.get(storage, 0) + 1
            if writes and name != "__get__":
                self.mutated[storage] = value
                self._settle_views(storage)

    def before_read(self, value: Tensor) -> None:
        if value.untyped_storage()._cdata in self.writers:
            self.run_pending()

    def _settle_views(self, storage: int) -> None:
        """Turn the recorded views of a tensor that is about to be written into real views."""
        numbers = self.real_views.get(storage, [])
        while numbers:
            value = self.deferred[numbers.pop()]
            if type(value) is Deferred and sys.getrefcount(value) > 3:  # list, `value`, the call
                self.settle(value)


def _exchanged(deferred: Any, value: Tensor) -> bool:
    """Make a placeholder the tensor ``value``; False if C++ refers to one of them."""
    if deferred._use_count() > 1:
        return False
    try:
        torch._C._swap_tensor_impl(deferred, value)
    except RuntimeError:
        return False
    deferred.__class__ = Tensor
    fields = vars(deferred)
    for name in OWN:  # what the program set stays
        fields.pop(name, None)
    return True


def _twin(value: Tensor) -> Tensor:
    """Return a tensor with the memory of ``value`` and its place in the graph of autograd.

    A profiler of shapes refers to the inputs of all operations, also inside others. What autograd
    restores from a saved tensor has been the input of none.
    """
    if value._is_view():
        return value
    if not value.requires_grad:
        return value.detach()
    with torch.enable_grad(), saved_tensors_hooks(torch.detach, torch.detach):
        saving: Any = value.square().grad_fn
        return saving._saved_self


def _writes(function: Any, name: str, kwargs: dict[str, Any]) -> bool:
    """Whether a function may write into a tensor argument, or gives access to its memory."""
    if kwargs.get("inplace") or "out" in kwargs:
        return True
    if name.endswith("_") and not name.endswith("__"):
        return True
    if name in _WRITES or name.startswith(_WRITE_PREFIXES):
        return True
    return type(function).__name__.startswith("Op")  # a custom operator may do anything
