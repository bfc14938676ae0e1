"""Which layers the chaotic loss acts on, and what it reads of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import conv

from ..core import checks
from ..core.neuron import Neuron
from ..core.stateful import Stateful
from ..core.taps import Moment, Watch
from ..core.tree import named_neurons
from .loss import Chunk
from .settings import CSBP

__all__ = ["Recorder", "hang", "selected"]


def selected(net: nn.Module, layers: Any) -> dict[str, nn.Module]:
    """The layers that ``layers`` means, by path.

    Raises:
        ValueError: an unknown path, or no layer.
        TypeError: neither a name nor a function.
    """
    modules, neurons = dict(net.named_modules()), dict(named_neurons(net))
    if isinstance(layers, str) and layers in ("all", "hidden"):
        found: dict[str, nn.Module] = dict(
            list(neurons.items())[: -1 if layers == "hidden" else None]
        )
        if not found:
            raise ValueError(
                f"layers={layers!r} must find spiking neurons, got a network of {len(neurons)}; "
                f"name layers by their paths: {', '.join(map(repr, modules))}"
            )
        return found
    if callable(layers):
        found = {path: module for path, module in modules.items() if layers(path, module)}
    elif isinstance(layers, str | list | tuple | set | frozenset):
        names = [layers] if isinstance(layers, str) else list(layers)
        found = {checks.choice("a name in layers", name, modules): modules[name] for name in names}
    else:
        raise TypeError(
            'layers must be "all", "hidden", paths or a function (path, module) -> bool, got '
            f"{layers!r}"
        )
    if not found:
        there = ", ".join(map(repr, modules))
        raise ValueError(
            f"layers must select at least one of {there}, got none; write layers='all'"
        )
    return found


class Recorder:
    """Collects the signal of one layer until it is taken. It reads while the layer trains with
    gradients.

    Args:
        module: the layer.
        signal: see `CSBP`.
    """

    def __init__(self, module: nn.Module, signal: str) -> None:
        self.module, self.signal = module, signal
        self.moments: list[Moment] = []
        # Of the previous sequence, without graph: what a report looks at.
        self.last: list[Moment] = []

    def __call__(self, module: nn.Module, moment: Moment) -> None:
        """Keep what is needed of a moment."""
        if not (torch.is_grad_enabled() and module.training):
            return
        self.last = []  # not two sequences in memory at once
        self.moments.append(moment)

    def take(self) -> list[Chunk]:
        """The signal since the last time, in chunks; forgets it."""
        moments, self.moments = self.moments, []
        self.last = [_plain(m) for m in moments] if isinstance(self.module, Neuron) else []
        if not moments:
            return []
        if self.signal == "membrane_last":
            mem = moments[-1].state.mem
            return [Chunk(mem[-1] if moments[-1].timed else mem, 1)]
        if self.signal == "rate":
            spk = torch.cat([m.output if m.timed else m.output[None] for m in moments])
            return [Chunk(spk.mean(0), 1)]
        return _joined([self._chunk(m) for m in moments])

    def _chunk(self, moment: Moment) -> Chunk:
        if self.signal == "membrane":
            return Chunk(moment.state.mem, 2 if moment.timed else 1)
        if not isinstance(self.module, Neuron):
            h = moment.output
            timed = h.dim() - _units(self.module, h) - 1 if moment.timed is None else moment.timed
            return Chunk(h, 1 + timed, moment.repeat)
        return Chunk(moment.x, 2 if moment.timed and moment.repeat == 1 else 1, moment.repeat)


def hang(net: nn.Module, settings: CSBP) -> tuple[dict[str, Recorder], list[Callable[[], None]]]:
    """Hang a recorder on each selected layer.

    Returns:
        The recorders by path, and functions that take them off.

    Raises:
        TypeError: the signal is one of neurons and a layer is none.
    """
    recorders, off = {}, []
    for path, module in selected(net, settings.layers).items():
        recorder = Recorder(module, settings.signal)
        if isinstance(module, Neuron):
            module._taps = (*module._taps, recorder)
            off.append(lambda module=module, tap=recorder: _untap(module, tap))
        elif (
            settings.signal != "pre"
            or settings.center == "threshold"
            or isinstance(module, Stateful)
        ):
            raise TypeError(
                f"signal={settings.signal!r} with center={settings.center!r} is one of neurons, "
                f"got {type(module).__name__} {path!r}; write signal='pre' and a number as center, "
                "or name neurons"
            )
        else:
            off.append(module.register_forward_hook(Watch(recorder)).remove)
        recorders[path] = recorder
    return recorders, off


def _untap(module: Neuron, tap: Recorder) -> None:
    module._taps = tuple(t for t in module._taps if t is not tap)


def _units(module: nn.Module, h: Tensor) -> int:
    """How many of the last axes of a layer's output are units, where nobody says which axes are
    time and batch."""
    if isinstance(module, nn.Linear):
        return 1
    if isinstance(module, conv._ConvNd):
        return len(module.kernel_size) + 1
    return h.dim() - 1


def _joined(chunks: list[Chunk]) -> list[Chunk]:
    """Chunks of equal shape as one."""
    first = chunks[0]
    if len(chunks) == 1 or any(
        c.h.shape != first.h.shape or c.repeat != first.repeat for c in chunks
    ):
        return chunks
    return [Chunk(torch.stack([c.h for c in chunks]), first.samples + 1, first.repeat)]


def _plain(moment: Moment) -> Moment:
    """A moment without graph, and without what nobody will ask for."""
    state = type(moment.state)(*(value.detach() for value in moment.state))
    return moment._replace(x=moment.x.detach(), output=None, state=state)
