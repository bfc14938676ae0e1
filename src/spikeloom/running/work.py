"""One run of `snn.run`: a loop over a one-step network, recorded as a whole or in segments."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..core.graph import sealed
from ..core.stateful import Stateful
from ..kernels.bits import spikes_as_bits
from .chain import Chain, links_of
from .errors import Place
from .execution import Execution
from .lengths import Holder
from .loop import loop, stacked
from .memory import by_samples, segment_length
from .plan import Plan
from .recorded import names_of, plan_of, recorded
from .recorder import Recorder
from .samples import Batch
from .stateful_layers import StatefulLayer

__all__ = ["Work"]


def _nothing(t: int) -> None:
    """Do nothing after a step that is not recorded."""


@dataclass
class Work:
    """A run; ``net``, ``x``, ``batch_norm`` and ``memory`` as for `spikeloom.run`.

    Args:
        net: the network.
        x: its input.
        steps: T.
        is_static: ``x`` is the same at every step.
        keys: records to keep, ``"path.field"``.
        batch_norm: source of the statistics.
        memory: what is saved for the backward pass.
        ends: steps of each sample, see `Execution`; None: T for all.
        place: holds the layer that runs in the first step.
    """

    net: nn.Module
    x: Tensor
    steps: int
    is_static: bool
    keys: set[str]
    batch_norm: str
    memory: str
    ends: Tensor | None = None
    place: Place = field(default_factory=Place)
    _hold: Callable[[int], None] = field(default=_nothing, init=False)

    def __post_init__(self) -> None:
        self.place.axes = self.x.dim() - (not self.is_static)

    def inputs(self) -> Iterable[Tensor]:
        """Return the input of each step."""
        return [self.x] * self.steps if self.is_static else self.x.unbind(0)

    def loop(
        self, inputs: Iterable[Tensor], after: Callable[[int], None] = _nothing
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Run the plain loop, see `spikeloom.running.loop`."""
        static = self.steps if self.is_static else None
        return loop(self.net, inputs, static, self.keys, self.place, after)

    def holder(self, modules: Iterable[Any]) -> Callable[[int], None]:
        """Return what keeps the states of padded samples after each step."""
        if self.ends is None:
            return _nothing
        return Holder((m for m in modules if isinstance(m, Stateful)), self.ends)

    def recorded(self) -> tuple[Any, dict[str, Tensor], Plan]:
        """Return output, records and plan of the recorded loop."""
        compressed = self.memory == "compressed"
        execution = Execution(self.memory, self.batch_norm, stepping=True, ends=self.ends)
        recorder = Recorder(execution, names_of(self.net))
        execution.hooked = execution.hooked or compressed
        if self.memory != "exact":
            execution.batch = Batch(self.x, int(not self.is_static), self.steps)
        with spikes_as_bits() if compressed else nullcontext():
            output, records = recorded(
                lambda: self._over_time(recorder), (), {}, recorder, self.steps
            )
        if self.memory == "checkpoint":
            self._seal()
        plan = plan_of(recorder, execution)
        recorder.release()
        plan.segments = self._segments(execution)
        return output, records, plan

    def _over_time(self, recorder: Recorder) -> tuple[Any, dict[str, Any]]:
        links = links_of(self.net) if not self.keys and self.steps > 1 else None
        after = lambda t: self._after(t, recorder)  # noqa: E731
        if links is None:
            return stacked(*self.loop(self.inputs(), after))
        chain = Chain(recorder, links, self.steps)
        static = self.steps if self.is_static else None
        first = chain.first(self.x if self.is_static else self.x[0], static, self.place)
        after(0)
        in_one = self.memory == "exact" or by_samples(recorder.execution) is not None
        if in_one and chain.can_repeat():
            chain.repeat()
            return chain.over_time(first), {}
        outputs, _ = self.loop(list(self.inputs())[1:], lambda t: after(t + 1))
        return stacked([first, *outputs], {})

    def _after(self, t: int, recorder: Recorder) -> None:
        if t == 0:
            _refuse_own_loop(self.net, recorder)
            known = recorder.modules()
            self._hold = self.holder(m for m in self.net.modules() if id(m) not in known)
        self._hold(t)
        ends = (t + 1) % self._length() == 0 and t + 1 < self.steps
        if ends and by_samples(recorder.execution) is None:
            recorder.piece()

    def _length(self) -> int:
        """Return the number of steps of a segment of time."""
        if self.memory == "exact":
            return self.steps
        return segment_length(self.steps, len(self.x) if self.is_static else self.x.shape[1])

    def _segments(self, execution: Execution) -> str:
        """Return how the work was divided, for the plan."""
        length = self._length()
        division = execution.division
        if not division and length < self.steps:
            division = f"{-(-self.steps // length)} segments of {length} steps"
        if not division:
            return ""
        how = "compressed"
        if self.memory == "checkpoint":
            how = "all but the last computed again for gradients"
        return f"in {division}, {how}"

    def _seal(self) -> None:
        """Hide the graph of the states from the check for freed graphs, which would compute it."""
        for module in self.net.modules():
            if isinstance(module, Stateful):
                module._hidden = module.state_of(sealed)


def _refuse_own_loop(net: nn.Module, recorder: Recorder) -> None:
    """Refuse a network whose first step called a neuron as a loop over time does."""
    calls: dict[int, int] = {}
    for layer in recorder.layers:
        if not isinstance(layer, StatefulLayer):
            continue
        calls[id(layer.module)] = calls.get(id(layer.module), 0) + len(layer.occurrences)
        again = id(layer.module) in recorder.reset and calls[id(layer.module)] > 1
        if len(layer.occurrences) > 1 or again or calls[id(layer.module)] > 2:
            raise ValueError(
                f"{type(net).__name__} has a loop over time of its own: one call runs "
                f"{layer.title} {layer.name!r} more than once; write snn.layerwise(net)(x) instead "
                "of snn.run(net, x), or a forward of one time step"
            )
