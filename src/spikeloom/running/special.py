"""Functions with special rules of recording: indices, stacks, dropout, batch norm, sums."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.parameters import version
from . import modes
from .arguments import FEW, check_bounds, takes_inplace
from .deferred import Deferred, Info, user_line
from .outlines import inferred
from .program import Layer, Slot, referred
from .sharing import Sharing
from .special_layers import NOT_TOGETHER, BatchNormLayer, StackLayer
from .tables import ADD, KINDS, VIEWS

__all__ = ["Special"]


class Special(Sharing):
    """A record that handles these functions."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sequences: dict[int, tuple[Layer, int, int]] = {}  # layer, version and length
        self.normed: dict[Any, Any] = {}  # batch norms whose statistics are those of all steps

    def call(self, function: Any, kind: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Record a function of the tables."""
        if kind == "dropout":
            return self.dropout(function, args, kwargs)
        if kind == "unbind":
            return self.unbind(*args, **kwargs)
        if kind == "index":
            return self.item(args[0], args[1])
        if kind == "stack":
            return self.stack(function, args, kwargs)
        if kind == "batch_norm":
            if kwargs.get("training", args[5] if len(args) > 5 else False):
                return self.batch_norm(function, args, kwargs)
            kind = "fold"
        first: Any = args[0] if args else None  # the input may be passed by name
        if takes_inplace(function, args, kwargs):
            if type(first) is not Deferred or "inplace" not in kwargs:
                return self.computed(function, args, kwargs)
            kwargs = {name: value for name, value in kwargs.items() if name != "inplace"}
            return self.rebind(first, function, args, kwargs)
        if function in ADD and not kwargs and len(args) == 2:
            total = self.running_sum(args)
            if total is not None:
                return total
        real = type(first) is not Deferred and isinstance(first, Tensor)
        if function in VIEWS and real and self.may_change(first):
            return self.computed(function, args, kwargs)
        return self.operation(function, kind, args, kwargs)

    # -- steps of a sequence ---------------------------------------------------------------------

    def unbind(self, input: Tensor, dim: int = 0) -> Any:
        """Record ``input.unbind(dim)``, or an iteration over a tensor, as one index per step."""
        before = (slice(None),) * (dim % max(input.dim(), 1))
        return tuple(self.item(input, (*before, t)) for t in range(input.shape[dim]))

    def item(self, x: Any, index: Any) -> Any:
        """Record ``x[index]``; its integers may differ from step to step."""
        function = Tensor.__getitem__
        items = index if type(index) is tuple else (index,)
        known = all(type(item) in (int, slice, type(None), type(...)) for item in items)
        if not known or x.dim() == 0:
            return self.computed(function, (x, index), {})
        if type(x) is not Deferred:
            schedule = x.dim() < 2 and x.numel() <= FEW
            if schedule or type(x) not in (Tensor, nn.Parameter) or self.may_change(x):
                return self.computed(function, (x, index), {})
        numbers = tuple(item for item in items if type(item) is int)
        form = tuple("number" if type(item) is int else repr(item) for item in items)
        mode = modes.current()
        key: list[Any] = [function, mode, form]
        at: list[int] = []
        self.add_key(x, key, at)
        layer = self.keys.get(found := tuple(key))
        if layer is None:
            layer = self.create(found, function, "index", mode, (x, index), {})
            if layer is None:
                return self.computed(function, (x, index), {})
        check_bounds(x, items)
        if type(index) is int and type(x) is not Deferred and not x.is_inference():
            self.sequences[id(x)] = layer, version(x), len(x)
        return self.occur(layer, (*at, *numbers), (x, index))

    def expected_item(self, layer: Layer, x: Any, index: Any) -> tuple[int, ...] | None:
        """Return what ``x[index]`` reads if it is one more step of a tensor; else None."""
        if type(index) is not int or self.inference:
            return None
        known, version, length = self.sequences.get(id(x), (None, 0, 0))
        if known is not layer or x._version != version or not 0 <= index < length:
            return None
        if self.mutated and self.may_change(x):
            return None
        return (index,) if modes.current() is layer.modes else None

    def stack(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Record ``torch.stack`` or ``torch.cat``; no work if the steps are stacked already."""
        items = args[0] if args else kwargs.get("tensors")
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        if not isinstance(items, (list, tuple)) or not isinstance(dim, int):
            return self.computed(function, args, kwargs)
        kinds = {type(item) for item in items}
        if Deferred not in kinds or not kinds <= {Deferred, Tensor, nn.Parameter}:
            return self.computed(function, args, kwargs)
        stable: list[Any] = [self.stable(v) for v in items]
        signs = tuple(Info.of(v).sign for v in stable)
        mode = modes.current()
        known = inferred((function, mode, dim, signs), function, (stable, dim), {})
        if known is None:
            return self.computed(function, args, kwargs)
        layer = StackLayer(function, mode, user_line())
        layer.items = [referred(v) for v in stable]
        layer.dim = dim
        layer.infos = known[0]
        layer.reals = [(v, version(v)) for v in stable if type(v) is not Deferred]
        self.enter(layer)
        return self.occur(layer, ())

    # -- random and stateful functions -------------------------------------------------------------

    def dropout(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Draw the mask immediately, in the order of the program, and record the product."""
        names = ("input", "p", "training", "inplace")
        options = dict(zip(names, args, strict=False)) | kwargs
        training = options.get("training", options.get("train", True))
        x = args[0] if args else None
        if type(x) is not Deferred or options.get("inplace") or function is torch.feature_dropout:
            return self.computed(function, args, kwargs)
        if not training or options.get("p", 0.5) == 0:
            return x
        with torch._C.DisableTorchFunction(), torch.no_grad():
            mask = function(torch.ones_like(x.info.blank()), *args[1:], **kwargs)
        drawn = self.given(("mask", function, x.info.sign[:3]), mask)
        return self.operation(torch.mul, "map", (x, drawn), {})

    def batch_norm(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Record batch norm; running statistics are written in order, by one layer at a time."""
        names = ("input", "running_mean", "running_var", "weight", "bias")
        names += ("training", "momentum", "eps")
        options = dict(zip(names, args, strict=False)) | kwargs
        x = options.pop("input")
        tensors = {name: v for name, v in options.items() if isinstance(v, Tensor)}
        buffers = [v for name, v in tensors.items() if name.startswith("running")]
        weights = [v for name, v in tensors.items() if not name.startswith("running")]
        together = self.execution.batch_norm == "time"
        x = self.stable(x) if together else x
        real = type(x) is not Deferred
        computed = any(type(v) is Deferred for v in tensors.values())
        if real or computed or function is not F.batch_norm:
            if together and not (real and self._is_constant(x, buffers)):
                raise ValueError(NOT_TOGETHER)
            return self.computed(function, args, kwargs)
        mode = modes.current()
        identities = (*map(id, buffers), *map(self.identity, weights))
        numbers = (options.get("momentum"), options.get("eps"))
        key = (function, mode, x.key, *identities, *numbers)
        if together:
            same = ("norm", function, mode, x.key, *map(id, buffers), *numbers)
            key = self._one_norm(same, key, options)
        layer = self.keys.get(key)
        storages = [buffer.untyped_storage()._cdata for buffer in buffers]
        if any(self.writers.get(s, layer) is not layer or s in self.readers for s in storages):
            self.run_pending()
        if layer is None:
            layer = BatchNormLayer(function, mode, user_line())
            layer.reads(x, options)
            layer.reals = [(v, version(v)) for v in weights]
            self.held |= {id(v): v for v in tensors.values()}
            self.keys[key] = layer
            self.enter(layer)
        self.writers |= dict.fromkeys(storages, layer)
        self.mutated |= dict(zip(storages, buffers, strict=True))
        layer.seen.pop((x.index,), None)  # every call writes the running statistics
        return self.occur(layer, (x.index,))

    def _one_norm(self, same: Any, key: Any, options: dict[str, Any]) -> Any:
        """Return the key of the batch norm that all steps share.

        A parametrization computes other tensors with the same values at each step.
        """
        first = self.normed.setdefault(same, (key, options))
        for name in ("weight", "bias"):
            a, b = first[1].get(name), options.get(name)
            alike = isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
            if a is not b and not alike:
                raise ValueError(NOT_TOGETHER)
        return first[0]

    def _is_constant(self, x: Tensor, buffers: list[Any]) -> bool:
        """Return whether a batch norm with these statistics received the same input each time."""
        key = (user_line(), *map(id, buffers))
        return self.normed.setdefault(key, x) is x

    def running_sum(self, args: Any) -> Any:
        """Record ``total + y`` as one more occurrence of the sum whose last value is ``total``."""
        for position in (0, 1):
            total = args[position]
            y = args[1 - position]
            if type(total) is not Deferred or type(y) is not Deferred or total.recorder is not self:
                continue
            layer = self.layers[total.layer]
            if not _continues(layer, total, y) or layer.modes != modes.current():
                continue
            if not layer.chain:
                self._forget(layer)
            layer.chain = True
            at: list[int | None] = [None] * len(layer.slots)
            at[layer.slots[-1].position] = y.index
            self.size += layer.size
            self.grow(layer)
            index = len(layer.occurrences)
            layer.occurrences.append(tuple(at))
            return self.defer(layer.outputs[0], index)
        return None

    def _forget(self, layer: Layer) -> None:
        """Remove a layer's key, so that no other operation joins the layer."""
        layer.pattern = None
        layer.seen.clear()
        for key in [key for key, found in self.keys.items() if found is layer]:
            del self.keys[key]


def _continues(layer: Layer, total: Deferred, y: Deferred) -> bool:
    """Whether ``total + y`` is the next value of the sum that ``layer`` computes."""
    if KINDS.get(layer.function) != "map" or layer.function not in ADD:
        return False
    if not layer.slots or len(layer.slots) > 2 or len(layer.args) != 2 or layer.kwargs:
        return False
    if total.index != len(layer.occurrences) - 1 or total.shape != layer.infos[0].shape:
        return False
    slot = layer.slots[-1]
    if (slot.layer, slot.out) != (y.layer, y.out) or y.key == total.key:
        return False
    if y.dtype != total.dtype or y.shape != total.shape or not y.dtype.is_floating_point:
        return False
    needs = total.info.requires_grad or y.info.requires_grad
    if not layer.chain and (len(layer.occurrences) > 1 or layer.infos[0].requires_grad != needs):
        return False
    first = layer.args[0] if layer.args[1] is slot else layer.args[1]
    return not (type(first) is Slot and (first.layer, first.out) == (y.layer, y.out))
