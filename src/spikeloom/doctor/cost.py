"""``doctor.cost``: what a network does for a sample: spikes, operations, memory, energy."""

import html
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import conv

from ..core import checks
from ..core.neuron import Neuron
from ..core.numbers import network, whole
from ..core.stateful import Stateful
from ..core.table import aligned
from ..core.taps import Moment, Watch, tapped_by
from ..core.tree import named_neurons
from ..functional.reg import fan_out
from ..layers.delayed_weights import DelayedWeights
from ..running import layerwise, run
from .check import style_of
from .energy import ARITHMETIC, MEMORY, NEUROMORPHIC, EnergyModel, matched_bits
from .observe import restored

__all__ = ["Cost", "LayerCost", "cost"]

WEIGHTED = (nn.Linear, conv._ConvNd, DelayedWeights)


class LayerCost(NamedTuple):
    """What a layer does for a sample.

    Attributes:
        path: of the layer; of a neuron with feedback, its path and ``.recurrent``.
        kind: its class.
        spikes: that a layer of neurons fires.
        synaptic: additions: one for each spike and each synapse that it reaches.
        analog: multiply-accumulates, where the input is no spikes: one for each value that is not 0
            and each synapse, at every step.
        once: as ``analog``, where an input that is the same at every step is computed once.
        macs: multiply-accumulates of the layer without spikes: once, for all inputs.
        active: as ``macs``, for the inputs that were not 0 at every step.
        updates: state variables that are computed, over all steps.
        parameters: bytes of the weights.
        state: bytes of the state.
        traffic: bytes of weights and states that are read or written, without any cache.
        arriving: spikes that arrive at the layer.
        inputs: values that arrive at each step.

    >>> LayerCost("0", "Linear", synaptic=12.0).synaptic
    12.0
    """

    path: str
    kind: str
    spikes: float = 0.0
    synaptic: float = 0.0
    analog: float = 0.0
    once: float = 0.0
    macs: float = 0.0
    active: float = 0.0
    updates: float = 0.0
    parameters: int = 0
    state: int = 0
    traffic: float = 0.0
    arriving: float = 0.0
    inputs: int = 0


HEAD = ("layer", "kind", "spikes", "synaptic ops", "analog MACs", "MACs without spikes")
HEAD += ("weights [B]", "state [B]", "traffic [B]", "energy [nJ]")


@dataclass(frozen=True)
class Cost:
    """What `cost` counted, for one sample; printed, a table.

    Attributes:
        layers: one for each layer of neurons or weights, in the order of the network.
        steps: T.
        rate: spikes per neuron and step.
        uncounted: parameters that no counted layer uses, such as weights in ``F.linear``, and
            layers of attention, which multiply signals by each other.
        models: of energy: the one that most papers use, and two that include memory.

    >>> Cost((LayerCost("0", "Linear", synaptic=2.0),), 10, 0.1, (), (ARITHMETIC,)).total.synaptic
    2.0
    """

    layers: tuple[LayerCost, ...]
    steps: int
    rate: float
    uncounted: tuple[str, ...] = ()
    models: tuple[EnergyModel, ...] = (ARITHMETIC, NEUROMORPHIC, MEMORY)

    @property
    def total(self) -> LayerCost:
        """The sums over all layers."""
        sums = [sum(column) for column in zip(*(layer[2:] for layer in self.layers), strict=True)]
        return LayerCost("total", "", *sums)

    def energy(self, model: EnergyModel, layer: LayerCost | None = None) -> float:
        """Energy for a sample, in picojoules: of one layer, or of all."""
        layers = self.layers if layer is None else (layer,)
        return sum(
            model.spiking(
                synaptic=row.synaptic,
                analog=row.once,
                updates=row.updates,
                spikes=row.arriving,
                neurons=row.inputs,
            )
            for row in layers
        )

    def without_spikes(self, model: EnergyModel, *, skip_zeros: bool = False) -> float:
        """Energy of the same network with activations of as many levels, in picojoules.

        Args:
            model: the prices.
            skip_zeros: inputs that are 0, those of neurons that never fired, cost nothing.
        """
        bits = matched_bits(self.steps)
        return sum(
            model.ordinary(
                macs=row.active if skip_zeros else row.macs,
                values=row.inputs,
                bits=model.weight_bits if row.once else bits,
                synapses=row.macs,
            )
            for row in self.layers
            if row.macs
        )

    def _cells(self) -> list[list[str]]:
        rows = []
        for row in (*self.layers, self.total):
            energy = self.energy(self.models[-1], None if row.path == "total" else row)
            numbers = (row.spikes, row.synaptic, row.analog, row.macs, row.parameters, row.state)
            cells = [f"{number:,.6g}" if number else "-" for number in (*numbers, row.traffic)]
            rows.append([row.path or "(the network)", row.kind, *cells, f"{energy / 1000:.4g}"])
        return rows

    def _energies(self) -> list[list[str]]:
        rows = [["energy for a sample [nJ]", "with spikes", "without, all", "without, not for 0"]]
        for model in self.models:
            values = (
                self.energy(model),
                self.without_spikes(model),
                self.without_spikes(model, skip_zeros=True),
            )
            rows.append([model.name, *(f"{value / 1000:.4g}" for value in values)])
        return rows

    def __str__(self) -> str:
        lines = [f"for one sample of {self.steps} steps, {self.rate:.4f} spikes a neuron and step"]
        lines += aligned([list(HEAD), *self._cells()], left=2)
        lines += ["", *aligned(self._energies())]
        lines += [f"{model.name}: {model.assumptions}" for model in self.models]
        bits = matched_bits(self.steps)
        lines.append(f"without spikes: the same layers, once, with activations of {bits} bits")
        if self.uncounted:
            lines.append(f"not counted: {', '.join(self.uncounted)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def table(rows: list[list[str]]) -> str:
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
            body = [[f"<td>{html.escape(cell)}</td>" for cell in row] for row in rows[1:]]
            lines = "".join(f"<tr>{''.join(row)}</tr>" for row in body)
            return f"<table><tr>{head}</tr>{lines}</table>"

        named = "".join(f"<p>{html.escape(f'{m.name}: {m.assumptions}')}</p>" for m in self.models)
        return table([list(HEAD), *self._cells()]) + table(self._energies()) + named


@dataclass
class Counter:
    """Operations of one layer with weights, over all samples; a tap."""

    path: str
    layer: nn.Module
    sequence: bool = False  # whether neurons receive all steps at once, and linear layers too
    kind: str = ""
    synaptic: Any = 0.0  # spikes of each input element
    analog: Any = 0.0  # values of each one that are no spikes and not 0
    once: Any = 0.0  # those that have to be computed anew
    arriving: float = 0.0
    shape: tuple[int, ...] = ()
    parts: list[tuple[Tensor, bool]] = field(default_factory=list)
    seen: Any = None  # which inputs were not 0 at some step, [B, ...]
    steps: int = 0

    def __call__(self, layer: nn.Module, moment: Moment) -> None:
        """Add a call, or a stretch of time."""
        x = moment.x.detach()
        whole = self.sequence and isinstance(layer, nn.Linear) and x.dim() > 2
        whole |= getattr(layer, "mode", "step") == "sequence"
        timed = moment.timed or (moment.timed is None and whole)
        self.add(x if timed else x.unsqueeze(0), moment.repeat)

    def add(self, x: Tensor, repeat: int = 1) -> None:
        """Add inputs [T, B, ...]; ``repeat``: one input that represents as many equal steps."""
        self.shape = tuple(x.shape[2:])
        active = x != 0
        values = active.sum((0, 1)).double()
        if is_spikes(x):
            self.synaptic = self.synaptic + repeat * values
            self.arriving += repeat * float(values.sum())
        else:
            self.analog = self.analog + repeat * values
            if repeat > 1 or not self._same(x):
                self.once = self.once + values
        fired = active.any(0)
        self.seen = fired if self.seen is None else self.seen | fired
        self.steps += repeat * len(x)

    def _same(self, x: Tensor) -> bool:
        """Whether all steps, also of the call before, have the same input."""
        last = self.parts[-1][0] if self.parts else None
        self.parts[:] = [(x[-1], True)]
        return last is not None and torch.equal(last, x[0]) and len(x) == 1

    def row(self, samples: int) -> LayerCost:
        """The figures of a sample."""
        weights = sum(p.numel() * p.element_size() for p in self.layer.parameters())
        size = next(self.layer.parameters()).element_size()
        reach = fan_out(self.layer, self.shape, pruned=True).double()

        def operations(values: Any) -> float:
            return float((values * reach).sum()) / samples

        synaptic, once = operations(self.synaptic), operations(self.once)
        return LayerCost(
            self.path,
            self.kind or type(self.layer).__name__,
            synaptic=synaptic,
            analog=operations(self.analog),
            once=once,
            macs=float(reach.sum()),
            active=operations(self.seen.sum(0).double()),
            parameters=weights,
            state=size * getattr(self.layer, "max_delay", 0) * reach.numel(),
            traffic=size * (synaptic + once),
            arriving=self.arriving / samples,
            inputs=reach.numel(),
        )


def is_spikes(x: Tensor) -> bool:
    """Whether an input [T, B, ...] is 0 or one size everywhere, so that a weight is only added.

    >>> is_spikes(torch.tensor([[0.0, 1.0], [-1.0, 0.0]])), is_spikes(torch.tensor([[0.5, 1.0]]))
    (True, False)
    """
    size = x.abs()
    most = size.amax()
    return bool(((size == 0) | (size == most)).all())


@dataclass
class NeuronCounter:
    """Spikes, updates and feedback of a layer of neurons, over all samples; a tap."""

    path: str
    neuron: Neuron
    spikes: float = 0.0
    updates: float = 0.0
    units: int = 0
    size: int = 4
    steps: int = 0
    feedback: Counter | None = None
    one_to_one: float = 0.0
    before: Any = None
    inner: float = 0.0

    def __post_init__(self) -> None:
        feedback = getattr(self.neuron, "recurrent", None)
        if isinstance(feedback, WEIGHTED):
            self.feedback = Counter(f"{self.path}.recurrent", feedback)

    def __call__(self, neuron: nn.Module, moment: Moment) -> None:
        """Add a step, or a stretch of time."""
        spk = moment.output.detach()
        spk = spk if moment.timed else spk.unsqueeze(0)
        self.units = spk[0, 0].numel()
        self.size = spk.element_size()
        self.steps += len(spk)
        self.spikes += float((spk != 0).sum())
        self.updates += spk.numel() * self.fields
        feedback = getattr(self.neuron, "recurrent", None)
        if feedback is None:
            return
        rest = torch.zeros_like(spk[:1]) if self.before is None else self.before.unsqueeze(0)
        sent = torch.cat([rest, spk[:-1]])
        self.before = spk[-1]
        if self.feedback is not None:
            self.feedback.add(sent)
        else:
            self.one_to_one += float((sent != 0).sum())

    @property
    def fields(self) -> int:
        """State variables of a neuron, the spikes aside."""
        return sum(name != "spk" for name in self.neuron.State._fields)

    def rows(self, samples: int) -> Iterator[LayerCost]:
        """The figures of a sample: of the neurons, and of their feedback."""
        state = self.units * self.fields * self.size
        products = self._products()
        yield LayerCost(
            self.path,
            type(self.neuron).__name__,
            spikes=self.spikes / samples,
            synaptic=self.one_to_one / samples,
            analog=products * self.steps,
            once=products * self.steps,
            macs=products,
            active=products,
            updates=self.updates / samples,
            parameters=sum(
                p.numel() * p.element_size() for p in self.neuron.parameters(recurse=False)
            ),
            state=state,
            traffic=2 * state * self.steps + self.size * products * self.steps,
        )
        if self.feedback is not None and self.feedback.steps:
            yield self.feedback.row(samples)

    def _products(self) -> float:
        """Products of modules inside a neuron with analog input, such as the cell of an SLSTM."""
        if getattr(self.neuron, "recurrent", None) is not None:
            return 0.0
        found = 0.0
        for module in self.neuron.children():
            wide = [p for p in module.parameters() if p.dim() > 1]
            filters = module._parameters.get("weight")  # of a convolution, at each place
            places = 1.0 if filters is None else self.units / max(len(filters), 1)
            found += places * sum(p.numel() for p in wide)
        return found


@contextmanager
def counted(net: nn.Module) -> Iterator[dict[str, Any]]:
    """Count, inside the block, the operations of each layer, by path."""
    inside = {id(c) for m in net.modules() if isinstance(m, Stateful) for c in m.children()}
    sequence = any(neuron.mode == "sequence" for _, neuron in named_neurons(net))
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        for path, module in net.named_modules():
            if isinstance(module, Neuron):
                found[path] = NeuronCounter(path, module)
                stack.enter_context(tapped_by(module, found[path]))
            elif isinstance(module, WEIGHTED) and id(module) not in inside:
                found[path] = Counter(path, module, sequence)
                stack.callback(module.register_forward_hook(Watch(found[path])).remove)
        yield found


def cost(net: nn.Module, batch: Any, *, num_steps: int | None = None) -> Cost:
    """Count what a network does for a sample, and estimate what that costs.

    A spike costs one addition for each synapse that it reaches; synapses beyond the border of a
    convolution, and weights of exactly 0, are none. An input that is no spikes costs
    multiply-accumulates. Bias, pooling and normalisation are not counted. Energy is estimated in
    three models, with the assumptions of each: arithmetic alone, which most papers print, with
    everything on the chip, and with weights outside of it. Beside them are those of the same
    network without spikes, whose activations have as many levels as a spike count of T steps.

    Args:
        net: a network of one step, one with its own loop over time, or a converted one. It runs in
            evaluation mode; states are reset afterwards.
        batch: input over time [T, B, ...], or with ``num_steps`` [B, ...]; or a pair of it and
            labels, which are ignored.
        num_steps: T of a static input.

    Returns:
        A `Cost`: printed, a table; its figures are means over the samples.

    Raises:
        TypeError, ValueError: ``net`` is no network of neurons, or does not run on the input.

    Source: MACs and the bits of the network without spikes: Yan, Bai, Tang & Wong, arXiv
        2409.08290. Prices of arithmetic: Horowitz (2014), ISSCC.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    >>> spikes = torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]])  # two steps, one sample
    >>> cost(net, spikes).layers[0].synaptic  # three spikes reach two neurons each
    6.0
    """
    network(net)
    x = batch[0] if isinstance(batch, (tuple, list)) else batch
    checks.floating(x, "x")
    if not x.numel():
        raise ValueError(f"x must hold at least one sample, got shape {tuple(x.shape)}")
    if num_steps is not None:
        num_steps = whole("num_steps", num_steps, 1, 2**24)
    if not any(True for _ in named_neurons(net)):
        raise ValueError("net must have at least one neuron, got none; count FLOPs with torch")
    with restored(net), torch.no_grad():
        runs = _runner(net, x, num_steps)
        net.eval()
        with counted(net) as found:
            runs()
    neurons = [c for c in found.values() if isinstance(c, NeuronCounter) and c.steps]
    if not neurons:
        raise ValueError("net must run its neurons, got none that was called")
    steps = max(c.steps for c in neurons)
    samples = _samples(neurons)
    rows: list[LayerCost] = []
    for counter in found.values():
        if isinstance(counter, NeuronCounter):
            rows += list(counter.rows(samples)) if counter.steps else []
        elif counter.steps:
            rows.append(counter.row(samples))
    spiking = [c for c in neurons if c.neuron.spiking]
    slots = sum(c.units * c.steps for c in spiking) * samples
    rate = sum(c.spikes for c in spiking) / slots if slots else 0.0
    return Cost(tuple(rows), steps, rate, _uncounted(net, found))


def _samples(neurons: list[NeuronCounter]) -> int:
    """Samples of the batch, from the number of updates."""
    first = neurons[0]
    return round(first.updates / (first.units * first.fields * first.steps))


def _runner(net: nn.Module, x: Tensor, num_steps: int | None) -> Any:
    """A function that runs the network once."""
    if hasattr(net, "stands_for"):  # a converted network codes its input itself
        return lambda: net(x, num_steps)
    if style_of(net, x, num_steps) == "loop":
        return lambda: layerwise(net)(x)
    return lambda: run(net, x, num_steps)


def _uncounted(net: nn.Module, found: dict[str, Any]) -> tuple[str, ...]:
    """Parameters of two or more axes outside of the counted layers, and products of signals."""
    known = {id(p) for path in found for p in net.get_submodule(path).parameters()}
    rest = [n for n, p in net.named_parameters() if p.dim() > 1 and id(p) not in known]
    products = [
        f"products of signals in {path or type(module).__name__}"
        for path, module in net.named_modules()
        if getattr(module, "multiplies_signals", False)
    ]
    return (*rest, *products)
