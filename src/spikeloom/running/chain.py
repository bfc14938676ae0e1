"""Extends the record of the first step of a chain of layers to all steps.

A nested ``nn.Sequential`` of torch's own layers without randomness and of modules with a state
does the same at every step. Its Python therefore runs only once, and the occurrences of the other
steps are derived from those of the first.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.modules import activation, batchnorm, conv, pooling
from torch.nn.modules import module as module_hooks
from torch.utils import _pytree as pytree

from ..core.neuron import Neuron
from ..core.stateful import Stateful
from ..layers.spike_linear import SpikeLinear
from . import modes
from .deferred import Deferred, Info, user_line
from .errors import Place, expect
from .program import Layer, Reference
from .recorder import Recorder
from .special_layers import StackLayer
from .stateful_layers import StatefulLayer

__all__ = ["Chain", "links_of"]

_PURE = (
    nn.Linear,
    SpikeLinear,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.LayerNorm,
    nn.GroupNorm,
)
_NOT_PURE = (nn.RReLU, nn.MultiheadAttention)
_MODULES = (activation.__name__, conv.__name__, pooling.__name__)


def links_of(net: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """Return the layers of a chain with their paths, in order; None for any other network.

    >>> [path for path, _ in links_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))]
    ['0', '1']
    >>> links_of(nn.Sequential(nn.Dropout()))
    """
    if module_hooks._has_any_global_hook():
        return None
    links = []
    pending = [("", net)]
    while pending:
        path, module = pending.pop()
        watched = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
        if watched or module._backward_pre_hooks or "forward" in vars(module):
            return None
        if type(module) is nn.Sequential:
            inside = module._modules.items()
            children = [
                (f"{path}.{name}" if path else name, m) for name, m in inside if m is not None
            ]
            pending.extend(reversed(children))
        elif _is_link(module):
            links.append((path, module))
        else:
            return None
    return links


def _is_link(module: nn.Module) -> bool:
    kind = type(module)
    if isinstance(module, Stateful):
        own = isinstance(module, Neuron) and not module._taps and module.noise is None
        return own and kind.__module__.startswith("spikeloom.neurons.")
    if isinstance(module, batchnorm._BatchNorm):
        return not module.training and module.track_running_stats and _is_torch(kind)
    listed = kind in _PURE or (kind.__module__ in _MODULES and _is_torch(kind))
    return listed and kind not in _NOT_PURE


def _is_torch(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.modules.")


class Chain:
    """Extends the record of one step of a chain to all steps.

    Args:
        recorder: holds the record.
        links: the layers, see `links_of`.
        steps: T.
    """

    def __init__(self, recorder: Recorder, links: list[tuple[str, nn.Module]], steps: int) -> None:
        self.recorder = recorder
        self.links = links
        self.steps = steps
        self.repeated: set[int] = set()  # layers that differ from step to step

    def first(self, x: Any, static: int | None, place: Place) -> Any:
        """Record the first step; arguments as for `spikeloom.running.loop`."""
        for path, module in self.links:
            place.enter(path, module)
            expect(module, x, static, place.axes)
            x = module(x)
        place.leave()
        return x

    def can_repeat(self) -> bool:
        """Whether the step was recorded as a whole, each layer once."""
        recorder = self.recorder
        if recorder.off or recorder.forced or recorder.mutated:
            return False
        known = all(layer.kind != "given" and not layer.effect for layer in recorder.layers)
        known = known and all(v.steady for v in recorder.layers if isinstance(v, StatefulLayer))
        return known and all(len(layer.occurrences) == 1 for layer in recorder.layers)

    def repeat(self) -> None:
        """Append the occurrences of the other steps."""
        for layer in self.recorder.layers:
            first = layer.occurrences[0]
            positions = [s.position for s in layer.slots if s.layer in self.repeated]
            if layer.kind == "index" and not layer.slots:
                layer.occurrences = [(t,) for t in range(self.steps)]
            elif positions:
                layer.occurrences = [_moved(first, positions, t) for t in range(self.steps)]
            elif isinstance(layer, StatefulLayer):
                layer.occurrences = [first] * self.steps
            else:
                continue
            self.repeated.add(layer.number)
            if isinstance(layer, StatefulLayer):
                last = self.steps - 1
                state = (self.recorder.defer(layer.outputs[out], last) for out in layer.outs)
                layer.module._hidden = layer.module.State(*state)

    def over_time(self, result: Any) -> Any:
        """Return the placeholder of the stacked results of all steps."""
        return pytree.tree_map(self._stacked, result)

    def _stacked(self, value: Any) -> Any:
        if type(value) is not Deferred:
            return torch.stack([value] * self.steps) if isinstance(value, torch.Tensor) else value
        source = self.recorder.layers[value.layer]
        layer = StackLayer(torch.stack, modes.current(), user_line())
        moves = source.number in self.repeated
        layer.items = [
            Reference(value.layer, value.out, t if moves else value.index)
            for t in range(self.steps)
        ]
        layer.dim = 0
        layer.infos = [_stacked_info(source, value, self.steps)]
        self.recorder.enter(layer)
        return self.recorder.occur(layer, ())


def _moved(first: tuple[Any, ...], positions: list[int], t: int) -> tuple[Any, ...]:
    if len(first) == 1:
        return (t,)
    return tuple(t if i in positions else index for i, index in enumerate(first))


def _stacked_info(source: Layer, value: Deferred, steps: int) -> Info:
    step = value.info
    shape = torch.Size((steps, *step.shape))
    stride = torch.empty(shape, device="meta").stride()
    if step.is_channels_last():  # a run keeps the memory format of images
        stride = (step.shape.numel(), *step.stride)
    needs = source.infos[value.out].requires_grad
    return Info(shape, step.dtype, step.device, stride, needs)
