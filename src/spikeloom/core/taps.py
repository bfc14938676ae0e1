"""Taps: functions that receive the input and output of a layer, once for a whole sequence.

An ordinary forward hook is called at every step, also under `spikeloom.run`. A tap is called once
with the input and output of one step or of all steps, and does not change how the layer runs.
Neurons call their taps themselves, in step mode, in sequence mode and under ``run``; layers without
a state carry the tap in a forward hook (`Watch`), which ``run`` recognises.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import nn

from . import recording

__all__ = ["Moment", "Tap", "Watch", "noted", "tapped_by", "untold", "watches"]


class Moment(NamedTuple):
    """Input and output of a layer, at one step or over several.

    Attributes:
        x: input, [B, ...], or [T, B, ...] where ``timed`` unless it is the same at every step.
        output: spikes of a neuron, or the result of another layer; ``timed`` says whether it has a
            time axis.
        state: of a neuron, with the same axes; None for other layers.
        timed: whether there is a time axis; None: unknown, an ordinary call of a layer without
            state.
        repeat: T, where ``x`` (and the output of a layer without state) has no time axis and
            represents T equal steps; else 1.
    """

    x: Any
    output: Any
    state: Any
    timed: bool | None
    repeat: int = 1


Tap = Callable[[nn.Module, Moment], None]


class Watch:
    """A forward hook of a layer without state that does nothing but tell a tap.

    >>> seen = []
    >>> layer = nn.Linear(2, 3)
    >>> handle = layer.register_forward_hook(
    ...     Watch(lambda module, moment: seen.append(moment.output.shape))
    ... )
    >>> _ = layer(__import__("torch").zeros(4, 2)); seen
    [torch.Size([4, 3])]
    """

    def __init__(self, tap: Tap) -> None:
        self.tap = tap

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        x = args[0] if args else None
        recorder = recording.local.recorder
        if recorder is None or not recorder.observe(self.tap, module, x, output):
            self.tap(module, Moment(x, output, None, None))

    def __deepcopy__(self, memo: Any) -> "Watch":
        return Watch(_nothing)  # a copy of a network is not watched

    def __reduce__(self) -> Any:
        return Watch, (_nothing,)


def _nothing(module: nn.Module, moment: Moment) -> None:
    """What the copy of a tap does."""


@contextmanager
def tapped_by(neuron: Any, tap: Tap) -> Iterator[None]:
    """Call ``tap`` with the input and output of a neuron inside the block.

    >>> seen = []
    >>> lif = snn.Leaky(0.9, init_hidden=True)
    >>> with tapped_by(lif, lambda neuron, moment: seen.append(moment.output.shape)):
    ...     _ = lif(torch.zeros(4, 2))
    >>> seen
    [torch.Size([4, 2])]
    """
    before = neuron._taps
    neuron._taps = (*before, tap)
    try:
        yield
    finally:
        neuron._taps = before


@contextmanager
def noted(
    net: nn.Module, paths: Iterable[str], value: Callable[[Moment], Any]
) -> Iterator[dict[str, list[Any]]]:
    """Collect ``value(moment)`` of each call of some neurons inside the block, by path.

    >>> net = nn.Sequential(snn.Leaky(0.9, init_hidden=True))
    >>> with noted(net, ["0"], lambda moment: moment.output.shape) as found:
    ...     _ = net(torch.zeros(4, 2))
    >>> found
    {'0': [torch.Size([4, 2])]}
    """
    found: dict[str, list[Any]] = {path: [] for path in paths}

    def tap(path: str) -> Tap:
        return lambda neuron, moment: found[path].append(value(moment))

    with ExitStack() as stack:
        for path in found:
            stack.enter_context(tapped_by(net.get_submodule(path), tap(path)))
        yield found


def watches(module: nn.Module) -> list[Watch]:
    """The taps that hang on a layer without state."""
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, Watch)]


@contextmanager
def untold(net: nn.Module) -> Iterator[None]:
    """Disable the taps of a network inside the block, in which it repeats computations.

    >>> seen = []
    >>> layer = nn.ReLU()
    >>> handle = layer.register_forward_hook(Watch(lambda module, moment: seen.append(moment)))
    >>> with untold(layer):
    ...     _ = layer(__import__("torch").zeros(1))
    >>> len(seen)
    0
    """
    modules: list[Any] = list(net.modules())
    neurons = [(module, module._taps) for module in modules if getattr(module, "_taps", ())]
    hooks = [(watch, watch.tap) for module in modules for watch in watches(module)]
    for neuron, taps in neurons:
        # the same number, because a neuron with taps saves more for its gradients
        neuron._taps = (_nothing,) * len(taps)
    for watch, _ in hooks:
        watch.tap = _nothing
    try:
        yield
    finally:
        for neuron, taps in neurons:
            neuron._taps = taps
        for watch, tap in hooks:
            watch.tap = tap
