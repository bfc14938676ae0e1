"""What one forward and one backward pass show about a network.

Taps of neurons and layers (`spikeloom.core.taps`) receive what flows through them while the network
runs as it always does: one step through `spikeloom.run`, a loop of its own through
`spikeloom.layerwise`. Gradients come from hooks on the spikes and from ``torch.autograd.grad``,
so that ``grad`` of the parameters stays as it is.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.neuron import Neuron
from ..core.stateful import Stateful
from ..core.taps import Moment, Watch, tapped_by
from ..running import layerwise, run

__all__ = ["Activity", "Observation", "Synapse", "forward", "observe", "observed", "restored"]

BINS = 120  # of the histogram of membranes
SPAN = 3.0  # thresholds on both sides of the threshold that the histogram covers
MOST = 2**18  # membranes of one call whose surrogate is evaluated
EDGE = 0.1  # of the peak of a surrogate: the edge of its support


class Activity:
    """What a neuron did during a run; a tap.

    Membranes are measured from the threshold and in units of it: -1 is rest, 0 fires.

    Attributes:
        path: of the neuron.
        neuron: the neuron.
        spikes: number of spikes of each neuron and sample, [B, ...].
        steps: T.
        histogram: of the membranes, `BINS` bins within `SPAN` of the threshold.
        support: share of membranes at which the surrogate exceeds a tenth of its peak.
        reach: mean of the surrogate at the membranes, its peak being 1.
        last: root mean square of the membranes after the last step, in thresholds.
        current: root mean square of the input, in thresholds.
        varies: whether the input differs between samples.
        order: position among all taps by the first call; -1 before it.
    """

    def __init__(self, path: str, neuron: Neuron, clock: Iterator[int]) -> None:
        self.path = path
        self.neuron = neuron
        self.clock = clock
        self.order = -1
        self.threshold = float(neuron.threshold.detach().abs().mean()) if neuron.spiking else 1.0
        self.curve = Curve(neuron, self.threshold) if neuron.spiking else None
        self.spikes: Any = torch.zeros(0)
        self.steps = 0
        self.calls = 0
        self.outputs: list[Tensor] = []
        self.membranes: list[Tensor] = []
        self.histogram = torch.zeros(BINS)
        self.support = self.reach = self.last = self.current = 0.0
        self.varies = False
        self.finite = True
        self._gradients: dict[int, Tensor] = {}  # by the first step of a stretch: squares by step
        self._weight = 0

    def __call__(self, neuron: nn.Module, moment: Moment) -> None:
        """Add a step, or a stretch of time."""
        spk, mem = moment.output, getattr(moment.state, "mem", None)
        if not moment.timed:
            spk, mem = spk.unsqueeze(0), None if mem is None else mem.unsqueeze(0)
        self.order = next(self.clock) if self.order < 0 else self.order
        self.calls += 1
        if moment.output.requires_grad:
            moment.output.register_hook(self._hook(self.steps, bool(moment.timed)))
        self.outputs.append(spk)
        if mem is not None:
            self.membranes.append(mem)
        with torch.no_grad():
            self._add(moment.x, spk, mem, moment)
        self.steps += len(spk)

    def _add(self, x: Tensor, spk: Tensor, mem: Tensor | None, moment: Moment) -> None:
        self.finite &= math.isfinite(float(spk.sum()) + float(0 if mem is None else mem.sum()))
        fired = (spk != 0).sum(0)
        self.spikes = self.spikes + fired if self.spikes.shape == fired.shape else fired
        self.varies = self.varies or bool((x != x.narrow(int(bool(moment.timed)), 0, 1)).any())
        mean = (float(x.float().square().mean()) ** 0.5) / self.threshold
        self.current += (mean - self.current) / self.calls
        if mem is None or self.curve is None or not self.finite:
            return
        self.last = float(mem[-1].float().square().mean()) ** 0.5 / self.threshold
        over = self._over(mem, moment) / self.threshold
        over = over.flatten()
        over = over[:: max(1, over.numel() // MOST)].float()
        inside = over.clamp(-SPAN, SPAN)
        self.histogram += torch.histc(inside.cpu(), BINS, -SPAN, SPAN)
        slope = self.curve.relative(over * self.threshold)
        self._weight += over.numel()
        share = over.numel() / self._weight
        self.support += (float((slope > EDGE).float().mean()) - self.support) * share
        self.reach += (float(slope.mean()) - self.reach) * share

    def _over(self, mem: Tensor, moment: Moment) -> Tensor:
        """How far the membranes are above the threshold, as the neuron decides about a spike."""
        neuron: Any = self.neuron
        state = moment.state
        if not moment.timed:
            state = type(state)(*(value.unsqueeze(0) for value in state))
        cell = neuron.transition.neuron if neuron.transition.elementwise else neuron
        return cell.trigger(state, neuron.params(mem.dtype)).expand_as(mem)

    def _hook(self, first: int, timed: bool) -> Callable[[Tensor], None]:
        def keep(gradient: Tensor | None) -> None:
            if gradient is None:  # only the states of this neuron are read further on
                return
            squares = gradient.detach().double().square()
            squares = squares.flatten(1).sum(1) if timed else squares.sum().reshape(1)
            self._gradients[first] = self._gradients.get(first, 0.0) + squares

        return keep

    @property
    def gradient(self) -> Tensor:
        """Norm of the gradient with respect to the spikes of each step, [T]."""
        found = torch.zeros(self.steps, dtype=torch.float64)
        for first, squares in self._gradients.items():
            found[first : first + len(squares)] = squares.cpu()
        return found.sqrt()

    @property
    def rate(self) -> float:
        """Spikes per neuron and step."""
        return float((self.spikes / max(self.steps, 1)).mean())

    @property
    def silent(self) -> float:
        """Share of neurons that fire for no sample."""
        return float((self.spikes.sum(0) == 0).float().mean())

    @property
    def saturated(self) -> float:
        """Share of neurons that fire at nine of ten steps or more, over all samples."""
        return float((self.spikes.float().mean(0) >= 0.9 * self.steps).float().mean())

    @property
    def units(self) -> int:
        """Number of neurons."""
        return int(self.spikes[0].numel())

    def did_as(self, other: "Activity") -> bool:
        """Whether spikes and last membranes are those of another run."""
        same = self.steps == other.steps and torch.equal(self.spikes, other.spikes)
        return same and math.isclose(self.last, other.last, rel_tol=1e-4, abs_tol=1e-6)

    def quantile(self, share: float) -> float:
        """Distance to the threshold, in thresholds, below which this share of membranes is."""
        total = self.histogram.cumsum(0)
        place = int(torch.searchsorted(total, share * total[-1]))
        return (min(place, BINS - 1) + 0.5) / BINS * 2 * SPAN - SPAN


class Curve:
    """The derivative of a neuron's surrogate, measured.

    Attributes:
        peak: its largest value.
        width: largest distance from the threshold, in thresholds, at which it exceeds a tenth of
            the peak.
        falls: whether it goes to zero far from the threshold.
    """

    def __init__(self, neuron: Neuron, threshold: float) -> None:
        self.function = neuron.spike_grad
        distances = torch.cat([torch.zeros(1), torch.logspace(-12, 2, 800)])
        grid = threshold * torch.cat([-distances, distances])
        slope = self.derivative(grid)
        self.peak = float(slope.max())
        inside = slope > EDGE * self.peak
        self.width = float(distances.repeat(2)[inside].max()) if bool(inside.any()) else 0.0
        far = self.derivative(threshold * torch.tensor([-1e7, 1e7]))
        self.falls = float(far.max()) < EDGE * self.peak
        half = self.derivative(threshold * torch.tensor([-20.0, 20.0]))
        self.wide = self.falls and float(half.max()) > 0.5 * self.peak

    def derivative(self, over: Tensor) -> Tensor:
        """Size of the derivative at membranes above the threshold by ``over``."""
        with torch.enable_grad():
            over = over.detach().requires_grad_()
            spikes = self.function(over)
            if not spikes.requires_grad:
                return torch.zeros_like(over)
            (slope,) = torch.autograd.grad(spikes.sum(), over, allow_unused=True)
        return torch.zeros_like(over) if slope is None else slope.abs()

    def relative(self, over: Tensor) -> Tensor:
        """As `derivative`, the peak being 1."""
        slope = self.derivative(over)
        return slope / self.peak if self.peak else slope


class Synapse:
    """What passed a layer with weights and without state; a tap.

    Attributes:
        path: of the layer.
        layer: the layer.
        order: position among all taps by the first call; -1 before it.
        shape: of the input of one call.
        finite: whether its outputs are.
    """

    def __init__(self, path: str, layer: nn.Module, clock: Iterator[int]) -> None:
        self.path = path
        self.layer = layer
        self.clock = clock
        self.order = -1
        self.shape: tuple[int, ...] = ()
        self.finite = True

    def __call__(self, layer: nn.Module, moment: Moment) -> None:
        """Add a call."""
        self.order = next(self.clock) if self.order < 0 else self.order
        if isinstance(moment.x, Tensor):
            self.shape = tuple(moment.x.shape)[1 if moment.timed else 0 :]
        if isinstance(moment.output, Tensor):
            self.finite &= math.isfinite(float(moment.output.detach().sum()))


@dataclass
class Observation:
    """Everything that the rules of the doctor read.

    Attributes:
        net: the network.
        x, y: the batch.
        style: ``"step"`` or ``"loop"``: the network computes one step, or has its own loop.
        membranes: whether the loss reads the membranes of the last neuron.
        steps: T.
        activities: of the neurons, in the order in which they ran.
        synapses: of the layers with weights, in that order.
        uncalled: paths of layers with weights that did not run.
        output: what the loss read, [T, B, N].
        loss: its value; None where it could not be computed.
        attached: whether the loss has a gradient.
        blind: whether the loss stays the same when outputs of samples are exchanged.
        gradients: norm by parameter; None where no gradient arrives.
        optimizer: the optimizer, or None.
        updates: size of the first update over the size of the weights, by parameter.
        losses: of a short training on this batch, on a copy.
        carried: whether a second call gives another result than the first.
        random: paths of modules that drop values in evaluation mode.
        trouble: why the loss could not be computed.
    """

    net: nn.Module
    x: Tensor
    y: Tensor
    style: str
    membranes: bool = False
    steps: int = 0
    activities: list[Activity] = field(default_factory=list)
    synapses: list[Synapse] = field(default_factory=list)
    uncalled: list[str] = field(default_factory=list)
    output: Any = None
    loss: float | None = None
    attached: bool = False
    blind: bool = False
    gradients: dict[str, float | None] = field(default_factory=dict)
    raw: dict[str, Tensor] = field(default_factory=dict)
    optimizer: Any = None
    updates: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    carried: bool = False
    random: list[str] = field(default_factory=list)
    trouble: str = ""

    @property
    def samples(self) -> int:
        """B, by the labels; a target for each step has the shape of the outputs, [T, B, N]."""
        steps = isinstance(self.output, Tensor) and self.output.dim() > 2
        return self.y.shape[1] if steps and self.y.shape == self.output.shape else len(self.y)

    @property
    def sample_axis(self) -> int:
        """Axis of the samples in the input: 1 where only that one has their number."""
        x, samples = self.x, self.samples
        return int(x.dim() > 1 and x.shape[0] != samples and x.shape[1] == samples)

    @property
    def spiking(self) -> list[Activity]:
        """The activities of neurons that fire."""
        return [a for a in self.activities if a.neuron.spiking]


def forward(net: nn.Module, x: Tensor, num_steps: int | None, style: str) -> Tensor:
    """The output over time, [T, B, N]: the network itself or the first part of its tuple."""
    output = layerwise(net)(x) if style == "loop" else run(net, x, num_steps)
    return output[0] if isinstance(output, (tuple, list)) else output


@contextmanager
def observed(net: nn.Module) -> Iterator[tuple[dict[str, Activity], dict[str, Synapse]]]:
    """Collect, inside the block, what the neurons and the layers with weights do."""
    inside = {id(c) for m in net.modules() if isinstance(m, Stateful) for c in m.modules()}
    activities: dict[str, Activity] = {}
    synapses: dict[str, Synapse] = {}
    clock = itertools.count()
    with ExitStack() as stack:
        for path, module in net.named_modules():
            if isinstance(module, Neuron):
                activities[path] = Activity(path, module, clock)
                stack.enter_context(tapped_by(module, activities[path]))
            elif module._parameters and id(module) not in inside:
                synapses[path] = Synapse(path, module, clock)
                hook = module.register_forward_hook(Watch(synapses[path]))
                stack.callback(hook.remove)
        yield activities, synapses


@contextmanager
def restored(net: nn.Module) -> Iterator[None]:
    """Leave the network inside the block as it was, but for the states, which are forgotten."""
    training = {module: module.training for module in net.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    devices = [p.device for p in net.parameters() if p.device.type == "cuda"][:1]
    try:
        with tree.generators_kept(net, devices):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                if buffer.shape == before.shape:
                    buffer.copy_(before)
        tree.reset(net)


def observe(
    seen: Observation,
    num_steps: int | None,
    loss: Callable[[Tensor, Tensor], Tensor],
    check_labels: Callable[[Observation], bool],
) -> None:
    """Run the network in training mode forward and, where the loss allows it, backward.

    Args:
        seen: receives what was found.
        num_steps: T of a static input.
        loss: of outputs and labels.
        check_labels: whether outputs and labels fit, so that the loss can be computed.
    """
    net = seen.net
    net.train()
    tree.reset(net)
    with observed(net) as (activities, synapses), torch.enable_grad():
        output = forward(net, seen.x, num_steps, seen.style)
        seen.activities = _in_order(activities.values())
        seen.synapses = _in_order(synapses.values())
        seen.uncalled = [s.path for s in synapses.values() if s.order < 0]
        if seen.membranes and seen.activities:
            output = torch.cat(seen.activities[-1].membranes)
        seen.output = output
        seen.steps = max((a.steps for a in seen.activities), default=1)
        if check_labels(seen):
            _backward(seen, loss)
    for activity in seen.activities:
        activity.outputs.clear()
        activity.membranes.clear()


def _in_order(taps: Iterable[Any]) -> list[Any]:
    """The taps that were called, in the order of their first calls."""
    return sorted((tap for tap in taps if tap.order >= 0), key=lambda tap: tap.order)


def _backward(seen: Observation, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    try:
        value = loss(seen.output, seen.y)
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        seen.trouble = str(error).partition("\n")[0]
        return
    if not isinstance(value, Tensor) or value.numel() != 1:
        came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        seen.trouble = f"it must return one number, got {came}"
        return
    value = value.sum()
    seen.loss = float(value.detach())
    seen.attached = value.requires_grad
    seen.blind = _is_blind(seen, loss, seen.loss)
    names, parameters = [], []
    for name, p in seen.net.named_parameters():
        if p.requires_grad:
            names.append(name)
            parameters.append(p)
    if not value.requires_grad or not parameters:
        seen.gradients = dict.fromkeys(names)
        return
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    for name, gradient in zip(names, gradients, strict=True):
        seen.gradients[name] = None if gradient is None else float(gradient.double().norm())
        if gradient is not None:
            seen.raw[name] = gradient


def _is_blind(seen: Observation, loss: Callable[[Tensor, Tensor], Tensor], value: float) -> bool:
    """Whether the loss does not change with the outputs: all others, and random ones."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        output = seen.output.detach()
        noise = torch.rand(output.shape, generator=source).to(output)
        others = [1.0 - output, (noise > 0.5).to(output), (noise > 0.9).to(output)]
        return all(float(loss(other, seen.y).sum()) == value for other in others)
