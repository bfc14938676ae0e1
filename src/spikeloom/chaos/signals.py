"""Selects the layers of the chaotic loss and records their signals."""

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
from .csbp import CSBP
from .loss_function import Chunk

__all__ = ["SignalRecorder", "record", "selected"]


def selected(net: nn.Module, layers: Any) -> dict[str, nn.Module]:
    """The layers of a selection, by path.

    Raises:
        ValueError: an unknown path, or no layer.
        TypeError: ``layers`` is neither a name nor a function.
    """
    modules = dict(net.named_modules())
    if isinstance(layers, str) and layers in ("all", "hidden"):
        neurons = list(named_neurons(net))
        found: dict[str, nn.Module] = dict(neurons[:-1] if layers == "hidden" else neurons)
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
        paths = ", ".join(map(repr, modules))
        raise ValueError(
            f"layers must select at least one of {paths}, got none; write layers='all'"
        )
    return found


class SignalRecorder:
    """Records the signal of one layer in training mode with gradients.

    Args:
        module: the layer.
        signal: as for `CSBP`.
    """

    def __init__(self, module: nn.Module, signal: str) -> None:
        self.module = module
        self.signal = signal
        self.moments: list[Moment] = []
        self.last: list[Moment] = []  # of the previous sequence, detached, for reports

    def __call__(self, module: nn.Module, moment: Moment) -> None:
        """Records a moment."""
        if not (torch.is_grad_enabled() and module.training):
            return
        self.last = []  # not two sequences in memory at once
        self.moments.append(moment)

    def take(self) -> list[Chunk]:
        """Returns the signal since the last call, in chunks, and clears the record."""
        moments = self.moments
        self.moments = []
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


def record(
    net: nn.Module, settings: CSBP
) -> tuple[dict[str, SignalRecorder], list[Callable[[], None]]]:
    """Attaches a recorder to each selected layer.

    Returns:
        The recorders by path, and functions that detach them.

    Raises:
        TypeError: the signal exists only for neurons, and a layer has none.
    """
    recorders = {}
    off = []
    for path, module in selected(net, settings.layers).items():
        recorder = SignalRecorder(module, settings.signal)
        if isinstance(module, Neuron):
            module._taps = (*module._taps, recorder)
            off.append(lambda module=module, tap=recorder: _untap(module, tap))
        elif (
            settings.signal != "pre"
            or settings.center == "threshold"
            or isinstance(module, Stateful)
        ):
            raise TypeError(
                f"signal={settings.signal!r} with center={settings.center!r} needs neurons, got "
                f"{type(module).__name__} {path!r}; write signal='pre' and a number as center, or "
                "select neurons"
            )
        else:
            off.append(module.register_forward_hook(Watch(recorder)).remove)
        recorders[path] = recorder
    return recorders, off


def _untap(module: Neuron, tap: SignalRecorder) -> None:
    module._taps = tuple(t for t in module._taps if t is not tap)


def _units(module: nn.Module, h: Tensor) -> int:
    """Number of unit axes of a layer's output if its time and batch axes are unknown."""
    if isinstance(module, nn.Linear):
        return 1
    if isinstance(module, conv._ConvNd):
        return len(module.kernel_size) + 1
    return h.dim() - 1


def _joined(chunks: list[Chunk]) -> list[Chunk]:
    """Stacks chunks of equal shape to one."""
    first = chunks[0]
    if len(chunks) == 1 or any(
        c.h.shape != first.h.shape or c.repeat != first.repeat for c in chunks
    ):
        return chunks
    return [Chunk(torch.stack([c.h for c in chunks]), first.samples + 1, first.repeat)]


def _plain(moment: Moment) -> Moment:
    """A detached moment without its output."""
    state = type(moment.state)(*(value.detach() for value in moment.state))
    return moment._replace(x=moment.x.detach(), output=None, state=state)
