"""C for what has a memory: neurons, printed from their equations, and delays.

A neuron is printed from the program that its transition traces to, the same one from which the
fused loops are printed. So every neuron whose step is arithmetic of its own can be written, also
one that a user wrote.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.neuron import Neuron
from ..core.transition import Transition
from ..kernels.program import Node, Program, Ref
from ..kernels.scalars import unsupported
from ..kernels.trace import program
from ..layers.delay import SynapticDelay
from ..neurons.recurrent import Recurrent
from .c_arithmetic import CScalars, untaken
from .c_layers import Block, Site, _table, layer_block

__all__ = ["delay_block", "neuron_block"]

NEAR = 1e-7  # weights of a delay below this are rounding of a whole number of steps


def neuron_block(site: Site, neuron: Neuron) -> Block:
    """Return the C of a neuron.

    Raises:
        ValueError: its step is random, is not arithmetic of one neuron, or has an operation without
            C.
    """
    if neuron.noise is not None:
        raise ValueError(
            f"neuron {site.path!r} cannot be written as C: its noise is random; write "
            "snn.noisy(net) before the export, which takes it away"
        )
    block = Block()
    transition = neuron.transition
    source = "x[i]"
    if isinstance(neuron, Recurrent) and not transition.elementwise:
        transition = _charged(neuron)
        source = _feed_back(site, neuron.recurrent, block)
    built = _built(site, transition)
    params = neuron.params(site.arithmetic.dtype)
    _print(site, neuron, _Known(site, built, transition.names, params), source, block)
    factor = params.graded_spikes_factor
    signed = neuron.transition.neuron.retract is not None
    block.spikes = neuron.spiking and not signed and bool((factor == 1).all())
    return block


def _built(site: Site, transition: Transition) -> Program:
    built = program(transition, site.arithmetic.dtype)
    if isinstance(built, str):
        raise ValueError(f"neuron {site.path!r} cannot be written as C: {built}")
    missing = unsupported(built)
    if missing:
        raise ValueError(f"neuron {site.path!r} cannot be written as C: no form for {missing}")
    return built


def _charged(neuron: Recurrent) -> Transition:
    """The transition of a recurrent neuron that receives input and feedback as one current."""
    return replace(neuron.transition, neuron=_Charged(type(neuron)))


class _Charged:
    """The equations of a recurrent neuron without its feedback, as a transition holds them."""

    elementwise = True
    overridden = ()

    def __init__(self, cell: type[Recurrent]) -> None:
        self.integrate = cell.charge
        self.trigger = cell.trigger
        self.retract = cell.retract
        self.settle = cell.settle
        self.State = cell.State


class _Known:
    """What an equation computes from parameters alone, computed here instead of at every step.

    Args:
        site: of the neuron.
        built: program of one step; a copy with constants in place of scalars is stored.
        names: of the parameters.
        params: their values.
    """

    def __init__(self, site: Site, built: Program, names: Any, params: Any) -> None:
        values = {f"p_{n}": getattr(params, n).detach() for n in names}
        scalars = {n: v.flatten()[0].item() for n, v in values.items() if v.numel() == 1}
        self.site = site
        self.program = built.specialised(scalars)
        nodes = self.program.nodes
        states = (i for n, i in self.program.inputs.items() if n[0] in "xs")
        varying = self.program.reached(states)
        self.tensors: dict[int, Tensor] = {}
        self.names: dict[int, str] = {}  # of those that the operations read
        for index, node in enumerate(nodes):
            if index in varying or node.name[:1] in ("o", "g", "e"):
                continue
            if node.value is None:
                value = values.get(node.name) if node.op is None else self._computed(node)
                if value is None:
                    continue
                if value.numel() == 1:
                    nodes[index] = replace(Node(dtype=node.dtype), value=float(value))
                self.tensors[index] = value

    def _computed(self, node: Node) -> Tensor | None:
        args = [self._argument(a) for a in node.args]
        return None if any(a is None for a in args) and None not in node.args else node.op(*args)

    def _argument(self, argument: Any) -> Any:
        if not isinstance(argument, Ref):
            return argument
        node = self.program.nodes[argument.index]
        if node.value is not None:
            return torch.tensor(node.value, dtype=node.dtype)
        return self.tensors.get(argument.index)

    def read(self, order: list[int], roots: list[int], tables: list[str]) -> dict[int, str]:
        """Return how each known value that the operations of ``order`` read is read."""
        nodes = self.program.nodes
        wanted = {r for i in order if i not in self.tensors for r in nodes[i].refs} | set(roots)
        found = {}
        for index in sorted(wanted & self.tensors.keys()):
            if nodes[index].value is None:
                # beta and 1 - beta both come from beta
                name = untaken(self._origin(index), self.names.values(), "_v")
                self.names[index] = name
                found[index] = _table(self.site, name, self.tensors[index], tables)
        return found

    def _origin(self, index: int) -> str:
        """Return the names of the parameters that a value is computed from."""
        node = self.program.nodes[index]
        if node.op is None:
            return node.name.removeprefix("p_")
        return "_".join(dict.fromkeys(self._origin(r) for r in node.refs)).strip("_")


def _print(site: Site, neuron: Neuron, known: _Known, source: str, block: Block) -> None:
    """Print one step of all neurons of a layer as a loop; ``source`` is the input of neuron i."""
    built = known.program
    real = site.arithmetic.real
    fields = neuron.State._fields
    states = {f"s_{f}": f"s->{site.name(f)}[i]" for f in fields}
    inputs = {"x_i" if name == "x" else name: index for name, index in built.inputs.items()}
    roots = {"spk": built.forward["spk"]}
    roots |= {f"new_{f}": built.forward[f"n_{f}"] for f in fields}
    ends = list(roots.values())
    read = known.read(built.needed(ends), ends, block.tables)
    locals_ = {i: f"p_{known.names[i]}" for i in read}
    sources = {"x_i": source, **states, **{locals_[i]: text for i, text in read.items()}}
    names = {i: n for n, i in inputs.items()} | locals_
    scalars = CScalars(built, names, site.arithmetic)
    lines = scalars.assignments(roots, known.tensors)
    spk, *news = (scalars.operand_of(root) for root in ends)
    text = " ".join([*(line.partition("=")[2] for line in lines), *news, spk])
    loads = [f"const {real} {n} = {sources[n]};" for n in sources if scalars.reads(n, text)]
    stores = [f"{states[f's_{f}']} = {r};" for f, r in zip(fields, news, strict=True)]
    block.body += [
        f"for (int i = 0; i < {site.size}; i++) {{",
        *(f"    {line}" for line in (*loads, *lines, *stores, f"y[i] = {spk};")),
        "}",
    ]
    if "x[i]" not in " ".join(block.body):
        block.body.insert(0, "(void)x;")
    zeros = torch.zeros(1, *site.shape_out, dtype=site.arithmetic.dtype)
    for name, value in zip(fields, neuron.initial(zeros), strict=True):
        block.state[site.name(name)] = site.size
        if bool(value.any()):
            start = _table(site, f"start_{name}", value[0], block.tables)
            loop = f"for (int i = 0; i < {site.size}; i++)"
            block.reset.append(f"{loop} s->{site.name(name)}[i] = {start};")


def _feed_back(site: Site, feedback: Any, block: Block) -> str:
    """Print the sum of the input and of what the last spikes send back; returns its place."""
    if not isinstance(feedback, nn.Module):
        raise ValueError(f"neuron {site.path!r}: a feedback that is a function cannot be written")
    shape = site.shape_out
    inner = replace(site, shape_in=shape, shape_out=shape, spikes=False)
    loop = layer_block(inner, feedback)
    size = site.size
    current = f"s->{site.name('current')}"
    block.tables = loop.tables
    block.state[site.name("current")] = size
    block.body = [
        "{",
        f"    {site.arithmetic.real} *y = {current};",
        f"    const {site.arithmetic.real} *x = s->{site.name('spk')};",
        *(f"    {line}" for line in loop.body),
        "}",
        f"for (int i = 0; i < {size}; i++) {current}[i] += x[i];",
    ]
    return f"{current}[i]"


def delay_block(site: Site, delay: SynapticDelay) -> Block:
    """Return the C of a delay: a ring of the last inputs, read at the positions of the delays."""
    taps = delay.taps(torch.float64).detach()  # [D + 1] or [D + 1, channels]
    if site.arithmetic.whole and bool((taps != taps.round()).any()):
        raise ValueError(f"delay {site.path!r} is no whole number of steps")
    block = Block()
    size = site.size
    depth = delay.max_delay + 1
    ring = site.name("ring")
    now = site.name("now")
    block.state = {ring: size * depth}
    block.counters = [now]
    block.body = [
        f"const int now = s->{now};",
        f"for (int i = 0; i < {size}; i++) s->{ring}[now * {size} + i] = x[i];",
        f"for (int i = 0; i < {size}; i++) y[i] = 0;",
    ]
    whole = bool(((taps - taps.round()).abs() < NEAR).all() and (taps.round().sum(0) == 1).all())
    if whole and taps.dim() > 1:
        block.body[-1] = _picked(site, taps.round(), depth, block.tables)
    for k in range(depth if not whole or taps.dim() == 1 else 0):
        if bool((taps[k].abs() > NEAR).any()):
            block.body += _tap(site, taps[k], k, depth, block.tables)
    block.body.append(f"s->{now} = (now + 1) % {depth};")
    block.spikes = site.spikes and whole
    return block


def _picked(site: Site, taps: Tensor, depth: int, tables: list[str]) -> str:
    """The statement of delays that are whole numbers of steps, one for each channel."""
    delays = taps.argmax(0).reshape(-1, *[1] * (len(site.shape_out) - 1))
    delay = _table(site, "delay", delays.to(torch.float64), tables, kind="int")
    place = f"(now + {depth} - {delay}) % {depth} * {site.size} + i"
    return f"for (int i = 0; i < {site.size}; i++) y[i] = s->{site.name('ring')}[{place}];"


def _tap(site: Site, weight: Tensor, k: int, depth: int, tables: list[str]) -> list[str]:
    shape = (-1, *[1] * (len(site.shape_out) - 1)) if weight.dim() else ()
    text = _table(site, f"tap{k}", weight.reshape(shape), tables)
    place = f"s->{site.name('ring')}[(now + {depth - k}) % {depth} * {site.size} + i]"
    one = bool((weight == 1).all())
    value = place if one else f"{text} * {place}"
    return [f"for (int i = 0; i < {site.size}; i++) y[i] += {value};"]
