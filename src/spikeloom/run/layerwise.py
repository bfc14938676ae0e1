"""A network over time, layer by layer.

The graph of one step is interpreted once, with values that carry time: a `Seq` is ``[T, B, ...]``, everything else is
the same at every step. What depends on constants only is computed once; stateless layers fold time into the batch;
what has a state runs over time; the rest runs once for each step. The result is what the step loop computes.
"""

import operator
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..core import dispatch
from ..core.neuron import Neuron
from ..core.stateful import Stateful
from ..core.taps import forward_of, tapped
from . import rules
from .errors import Place, expect
from .images import Images, stacked
from .pairs import Pairs
from .plan import NotLayerwise, Row
from .sparse import density_of, sparse_call
from .trace import attribute, function_of, needed_later

__all__ = ["Layerwise", "Seq"]


class Seq:
    """A value that differs from step to step: its tensor is [T, B, ...]."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.first = tensor.detach()[0]  # a step to look at, which leads no gradient
        self._steps: tuple[Tensor, ...] = ()

    @property
    def steps(self) -> tuple[Tensor, ...]:
        """One tensor [B, ...] for each step; split once, because indexing costs O(T^2) in the backward pass."""
        self._steps = self._steps or self.tensor.unbind(0)
        return self._steps


class Layerwise:
    """Interprets a graph; see the module.

    Args:
        net: the network.
        graph: of one step of it.
        num_steps: T.
        static: T where the input is static, else None (for the hints of errors).
        batch_norm: ``"step"`` or ``"time"``, see `run`.
        record: keys ``"path.field"`` to keep.
        place: told which layer is running.
        memory: see `run`.
    """

    def __init__(
        self,
        net: nn.Module,
        graph: fx.Graph,
        num_steps: int,
        static: int | None,
        batch_norm: str,
        record: set[str],
        place: Place,
        memory: str = "exact",
    ) -> None:
        self.memory = memory
        self.modules = dict(net.named_modules(remove_duplicate=False))
        self.net, self.graph, self.num_steps, self.static = net, graph, num_steps, static
        self.batch_norm, self.record, self.place = batch_norm, record, place
        self.pairs = Pairs(graph)
        self.images = Images(self.pairs, self.modules)
        self.rows: list[Row] = []
        self.records: dict[str, Tensor] = {}

    def __call__(self, x: Any) -> Any:
        """Run on ``x``, a `Seq` or a constant tensor; returns the output stacked over time."""
        with dispatch.together():
            return self._run(x)

    def _run(self, x: Any) -> Any:
        env: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder":
                if env:
                    raise NotLayerwise(f"forward takes {node.name!r} besides its input")
                env[node] = x
            elif node.op == "get_attr":
                env[node] = attribute(self.net, str(node.target))
            elif node.op == "output":
                return _mapped(self._stacked, fx.map_arg(node.args[0], env.__getitem__))
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), env.__getitem__)
                env[node] = self._node(node, args, kwargs)
            for used in [n for n in node.all_input_nodes if n in env and not needed_later(n, node)]:
                del env[used]
        raise NotLayerwise("forward returns nothing")

    def _stacked(self, value: Any) -> Any:
        if isinstance(value, Seq):
            return self.images.restored(value.tensor)
        value = self.images.restored(value)
        return value.expand(self.num_steps, *value.shape) if isinstance(value, Tensor) else value

    # -- one operation ---------------------------------------------------------------------------------

    def _node(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op != "call_module":
            return self._function(node, args, kwargs)
        path = str(node.target)
        module = self.modules[path]
        self.place.enter(path, module)
        value = args[0] if args else next(iter(kwargs.values()), None)
        if how := self.pairs.finished(value):
            self._row(path, module, how)
            return value
        step = value.first if isinstance(value, Seq) else value
        expect(module, step, self.static)
        if isinstance(module, Stateful):
            return self._stateful(path, module, value)
        how = rules.of_module(module, step) if len(args) == 1 and not kwargs else "step"
        return self._layer(path, module, how, args, kwargs)

    def _stateful(self, path: str, module: Stateful, value: Any) -> Any:
        if rules.has_hooks(module) or "sequence" not in module.modes:
            reason = "somebody watches its calls" if rules.has_hooks(module) else "it has no other mode"
            return self._each(path, module, (value,), {}, f"step by step: {reason}")
        timed = isinstance(value, Seq)
        x, steps = (value.tensor, None) if timed else (value, self.num_steps)
        if not isinstance(module, Neuron) or not module.transition.elementwise:
            x = self.images.restored(x)
        how = "all steps at once"
        if isinstance(module, Neuron):
            silent = module.init_hidden and not module.output and not self._recorded(path)
            keep, reason = self._residual(module, x, steps)
            options = {"path": not silent}
            with keep:
                output, state = module.advance(x, sequence=True, num_steps=steps, **options)
            self._keep(path, output, state)
            name = dispatch.name_of(module.transition, x, state[0].dtype, steps or 1)
            how = f"scan over time ({name}){reason}"
        else:
            output, state = module.advance(x, sequence=True, num_steps=steps)
        self._row(path, module, f"{how}{'' if timed else ', the same input at every step'}")
        return _mapped(Seq, module.returned(output, state))

    def _residual(self, neuron: Neuron, x: Tensor, steps: int | None) -> tuple[Any, str]:
        """What this neuron keeps for the backward pass, as a context, and a word on it."""
        if self.memory != "compressed":
            return nullcontext(), ""
        kind = "half" if steps is None else "input"
        dtype = neuron.initial(x[0] if steps is None else x)[0].dtype
        reason = dispatch.unkept(neuron.transition, x, kind, dtype)
        return (nullcontext(), f"; kept whole: {reason}") if reason else (dispatch.residual(kind), "")

    def _layer(self, path: str, module: nn.Module, how: str, args: Any, kwargs: Any) -> Any:
        timed = any(isinstance(a, Seq) for a in pytree.tree_leaves((args, kwargs)))
        statistics = rules.is_batch_norm(module) and self.batch_norm == "step"
        if not timed and statistics:
            return self._again(path, module, args, kwargs)
        image = self._image(path, module, args[0]) if how == "fold" else None
        if image is not None:
            return image
        if not timed and not rules.is_random(module) and not rules.has_hooks(module):
            self._row(path, module, "once: its input is constant in time")
            return self._constant(module, self.images.restored(args) if how == "step" else args, kwargs)
        if statistics:
            return self._each(path, module, args, kwargs, "step by step: its statistics are those of a step")
        if how == "fold" and timed:
            output = _fold(forward_of(sparse_call(module)), args, kwargs)
            self._row(path, module, "; ".join(filter(None, ["time folded into the batch", str(density_of(module))])))
            tapped(module, args[0].tensor, pytree.tree_map(_tensor, output), timed=True)
            return output
        return self._each(path, module, args, kwargs, "step by step")

    def _image(self, path: str, module: nn.Module, value: Any) -> Any:
        """The layer's result where `Images` has its own way, else None."""
        timed = isinstance(value, Seq)
        found = self.images.convolved(path, module, value.tensor.flatten(0, 1) if timed else value)
        if found is None:
            return None
        output, how = found
        once = "time folded into the batch" if timed else "once: its input is constant in time"
        self._row(path, module, f"{once}; {how}")
        result = Seq(output.unflatten(0, value.tensor.shape[:2])) if timed else output
        how = "pooled with the convolution before it"
        return self.pairs.finish(result, how) if path in self.images.pools else result

    def _again(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Batch norm of a constant input: the same result T times, but the running statistics move T times."""
        self._row(path, module, "once; its running statistics are updated at every step")
        with torch.no_grad():
            for _ in range(self.num_steps - 1):
                forward_of(module)(*args, **kwargs)
        return self._constant(module, args, kwargs)

    def _constant(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Call a layer once for all steps."""
        output = forward_of(module)(*args, **kwargs)
        return tapped(module, args[0] if args else None, output, timed=False, repeat=self.num_steps)

    def _function(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.target is operator.getitem and isinstance(args[0], (tuple, list)):
            return args[0][args[1]]
        call = function_of(node)
        self.place.enter("", None)
        flat = pytree.tree_leaves((args, kwargs))
        timed = [v for v in flat if isinstance(v, Seq)]
        if not timed and not rules.is_random(node.target):
            args, kwargs = (args, kwargs) if rules.keeps_format(node.target) else self.images.restored((args, kwargs))
            return call(*args, **kwargs)
        steps = [v.first for v in timed]
        plain = pytree.tree_map(lambda v: v.first if isinstance(v, Seq) else v, (args, kwargs))
        how = rules.of_function(node.target, plain[0], plain[1], steps) if timed else "step"
        if how == "map":
            return Seq(call(*(_tensor(a) for a in args), **{k: _tensor(v) for k, v in kwargs.items()}))
        if how == "fold":
            return _fold(call, args, kwargs)
        if how == "reshape":
            shape = torch.empty(steps[0].shape, device="meta").reshape(*plain[0][1:]).shape
            return Seq(args[0].tensor.reshape(self.num_steps, *shape))
        return self._each(str(node.name), call, args, kwargs, "step by step")

    def _each(self, name: str, call: Callable[..., Any], args: Any, kwargs: Any, how: str) -> Any:
        """Call once for each step and stack."""
        if isinstance(call, nn.Module) or how != "step by step":
            self._row(name, call, how)
        results = []
        for t in range(self.num_steps):
            step = pytree.tree_map(lambda v, t=t: v.steps[t] if isinstance(v, Seq) else v, (args, kwargs))
            step = step if rules.is_batch_norm(call) else self.images.restored(step)
            results.append(call(*step[0], **step[1]))
            if isinstance(call, Neuron):
                self._collect(name, call, results[-1], t)
        return _stack(results)

    # -- records ---------------------------------------------------------------------------------------

    def _row(self, name: str, call: Any, how: str) -> None:
        self.rows.append(Row(name, type(call).__name__ if isinstance(call, nn.Module) else "", how))

    def _recorded(self, path: str) -> bool:
        return any(key.startswith(f"{path}.") and key != f"{path}.spk" for key in self.record)

    def _keep(self, path: str, spk: Tensor, state: Any) -> None:
        values = {f"{path}.{n}": v for n, v in {**state._asdict(), "spk": spk}.items()}
        self.records |= {key: self.images.restored(v) for key, v in values.items() if key in self.record}

    def _collect(self, path: str, neuron: Neuron, result: Any, t: int) -> None:
        spk = result[0] if isinstance(result, tuple) else result
        for n, v in {**neuron.hidden._asdict(), "spk": spk}.items():
            if f"{path}.{n}" in self.record:
                old = self.records.get(f"{path}.{n}")
                self.records[f"{path}.{n}"] = v[None] if old is None else torch.cat([old, v[None]])


def _mapped(function: Callable[..., Any], value: Any) -> Any:
    """``function`` of every tensor; most values are one, and walking a tree takes longer than many a layer."""
    return function(value) if isinstance(value, (Tensor, Seq)) else pytree.tree_map(function, value)


def _tensor(value: Any) -> Any:
    return value.tensor if isinstance(value, Seq) else value


def _fold(call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    x = args[0].tensor
    result = call(x.flatten(0, 1), *args[1:], **kwargs)
    return _mapped(lambda v: Seq(v.unflatten(0, x.shape[:2])), result)


def _stack(results: list[Any]) -> Any:
    first = results[0]
    if isinstance(first, Tensor):
        return Seq(stacked(results))
    if isinstance(first, torch.Size):
        return first
    if isinstance(first, (tuple, list)):
        return type(first)(map(_stack, (list(column) for column in zip(*results, strict=True))))
    return first
