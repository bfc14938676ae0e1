"""Whole-sequence execution: ``snn.run(net, x)`` runs any network of modules and neurons over time.

The network is written for one time step; running it is the library's affair. It goes layer by layer where that is the
same function, and step by step where it is not; ``explain=True`` says which and why.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn

from ..core import checks, tree
from ..core.stateful import Stateful
from ..core.tree import named_neurons
from ..kernels.bits import spikes_as_bits
from .errors import Place, located
from .layerwise import Layerwise, Seq
from .memory import MEMORIES, joined, segment_length, segments
from .plan import NotLayerwise, Plan, Run
from .stepwise import stepwise
from .trace import graph_of

__all__ = ["Plan", "Run", "run"]


def run(
    net: nn.Module,
    x: Tensor,
    num_steps: int | None = None,
    *,
    record: bool | Iterable[str] | None = None,
    reset: bool = True,
    batch_norm: str = "step",
    memory: str = "exact",
    explain: bool = False,
) -> Any:
    """Run a network over time.

    ``net(x_t)`` computes one step; its neurons have ``init_hidden=True`` or are called with their input only. The
    result is that of the loop ``for x_t in x: net(x_t)``: the same spikes in float64; in float32 up to the rounding of
    one product over all steps instead of one for each, which moves a membrane by about 1e-7 and a spike only where
    the membrane lies that close to the threshold. Layers that draw random numbers (dropout) draw from the same
    distribution in another order.

    Args:
        net: any module. Its state is what its neurons remember; they keep the last state.
        x: input over time, [T, B, ...]; or, with ``num_steps``, a static input [B, ...] for every step.
        num_steps: T of a static input.
        record: what to return besides the output: True for everything, or names such as ``"1"`` (all of that neuron),
            ``"1.mem"``, ``"1.spk"``, where ``"1"`` is the neuron's path in ``net.named_modules()``.
        reset: start from rest (default); False goes on from the state of the previous call.
        batch_norm: where batch norm is training: ``"step"`` takes the statistics of each step, as the loop does;
            ``"time"`` takes those of all steps together, in one go.
        memory: what is kept for the backward pass. ``"exact"``: all that it reads. ``"compressed"``: the run goes in
            segments of time and keeps membranes in 16 bits and spikes as bits; spikes are the same, gradients are off
            by about 1e-3 (`snn.residual`). ``"checkpoint"``: only the states between segments are kept, a segment is
            computed once more for its gradients, which are those of ``"exact"`` up to the order in which the weights'
            gradients are summed over time.
        explain: also return what was done and why.

    Returns:
        The network's output, stacked over time, [T, B, ...]; a tuple of those if it returns a tuple. With ``record`` or
        ``explain``: a `Run` of output, records and plan.

    Raises:
        TypeError: ``x`` is no floating-point tensor, or a layer received another dtype or a tuple.
        ValueError: the axes or features of a layer's input are wrong, ``x`` is not finite, or a name is unknown. The
            message begins with the path of the layer.
        RuntimeError: ``memory`` asks for segments of a network that cannot be run layer by layer.

    >>> import torch, spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True))
    >>> snn.run(net, torch.rand(2, 3), num_steps=5).shape
    torch.Size([5, 2, 4])
    >>> result = snn.run(net, torch.rand(5, 2, 3), record=["1.mem"], explain=True)
    >>> result.record["1.mem"].shape
    torch.Size([5, 2, 4])
    >>> print(result.plan)
    layer by layer
      0  Linear  time folded into the batch
      1  Leaky   scan over time (torch)
    """
    steps = _check(net, x, num_steps, batch_norm)
    _check_memory(memory, batch_norm)
    net = nn.Sequential(net) if isinstance(net, Stateful) else net
    keys = _keys(net, record)
    if reset:
        tree.reset(net)
    place, plan = Place(), Plan(True)
    with located(place):
        try:
            work = Work(net, graph_of(net), num_steps, batch_norm, keys, place, memory)
            output, records, plan = work(x, steps)
        except NotLayerwise as obstacle:
            if memory != "exact":
                raise RuntimeError(
                    f"memory={memory!r} needs a network that runs layer by layer, and {obstacle}; "
                    'leave memory out or write memory="exact"'
                ) from obstacle
            plan = Plan(False, str(obstacle))
            output, records = stepwise(net, x.unbind(0) if num_steps is None else [x] * steps, num_steps, keys, place)
    return Run(output, records, plan) if record or explain else output


@dataclass
class Work:
    """A layer-by-layer run, in one piece or in segments; arguments as for `Layerwise`."""

    net: nn.Module
    graph: fx.Graph
    static: int | None
    batch_norm: str
    keys: set[str]
    place: Place
    memory: str

    def __call__(self, x: Tensor, steps: int) -> tuple[Any, dict[str, Tensor], Plan]:
        if self.memory == "exact":
            return self.part(x if self.static else Seq(x), steps)
        batch = len(x) if self.static else x.shape[1]
        length = segment_length(steps, batch)
        lengths = [min(length, steps - done) for done in range(0, steps, length)]
        parts = list(zip([x] * len(lengths) if self.static else x.split(length), lengths, strict=True))
        again = self.memory == "checkpoint"
        plans: list[Plan] = []

        def run(part: tuple[Tensor, int]) -> Any:
            output, records, plan = self.part(part[0] if self.static else Seq(part[0]), part[1])
            plans.append(plan)
            return output, records

        with nullcontext() if again else spikes_as_bits():
            output, records = joined(segments(self.net, parts, run, again=again))
        how = "all but the last computed again for gradients" if again else "compressed"
        how = f"in {len(parts)} segments of {length} steps, {how}"
        return output, records, replace(plans[0], segments=how)

    def part(self, x: Any, steps: int) -> tuple[Any, dict[str, Tensor], Plan]:
        static = steps if self.static else None
        worker = Layerwise(self.net, self.graph, steps, static, self.batch_norm, self.keys, self.place, self.memory)
        return worker(x), worker.records, Plan(True, rows=worker.rows)


def _check(net: nn.Module, x: Tensor, num_steps: int | None, batch_norm: str) -> int:
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}; write nn.Sequential(...)")
    if isinstance(net, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise TypeError(
            f"{type(net).__name__} around the step would synchronise at every step; wrap a module whose forward calls "
            "snn.run(self.net, x) instead"
        )
    checks.floating(x, "x")
    checks.finite(x, "x")
    checks.choice("batch_norm", batch_norm, ("step", "time"))
    if num_steps is None:
        if x.dim() < 2 or len(x) < 1:
            raise ValueError(
                f"x over time is [T, B, ...] with T > 0, got {tuple(x.shape)}; "
                "a static input [B, ...] needs num_steps=..."
            )
        return len(x)
    if not isinstance(num_steps, int) or num_steps < 1:
        raise ValueError(f"num_steps must be a positive integer, got {num_steps!r}; drop it if x is [T, B, ...]")
    return num_steps


def _check_memory(memory: str, batch_norm: str) -> None:
    checks.choice("memory", memory, MEMORIES)
    if memory != "exact" and batch_norm == "time":
        raise ValueError(
            f'batch_norm="time" takes the statistics of all steps together, memory={memory!r} never has them all; '
            'write batch_norm="step" or memory="exact"'
        )


def _keys(net: nn.Module, record: bool | Iterable[str] | None) -> set[str]:
    """The names asked for as ``path.field``."""
    if not record:
        return set()
    fields = {path: ["spk", *(f for f in n.State._fields if f != "spk")] for path, n in named_neurons(net)}
    every = {f"{path}.{field}" for path, names in fields.items() for field in names}
    if record is True:
        return every
    keys: set[str] = set()
    for name in [record] if isinstance(record, str) else record:
        if name not in fields:
            checks.choice("a name in record", name, sorted(every | fields.keys()))
        keys |= {f"{name}.{f}" for f in fields[name]} if name in fields else {name}
    return keys
