"""Reading: from a NIR graph or file to a network of torch layers and our neurons."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.numbers import flag
from .convention import CONVENTIONS, Convention, convention_of
from .layer_modules import layer_module
from .loops import Loop, graded, loops_of, order_of
from .metadata import check_own, order_in
from .network import Network, Step, paths_of
from .neuron_modules import is_neuron, neuron_module
from .node import Node
from .reading import Flat, read
from .settings import Settings

__all__ = ["from_nir"]


def from_nir(
    graph: Any,
    *,
    dt: float | None = None,
    reset: str | None = None,
    delay: bool | None = None,
    start: str | None = None,
    convention: str | Convention | None = None,
    spike_grad: Any = None,
    dtype: torch.dtype | None = None,
) -> Network:
    """Make a network of a NIR graph.

    NIR has no field for the time step, the reset rule and its delay. They are taken from the
    arguments, else from the metadata that `to_nir` writes, else from ``convention``; where none of
    them says, this raises instead of guessing. A graph from `to_nir` gives a network that spikes
    like the original, bit for bit.

    Neurons become `Leaky`, `IF`, `Synaptic`, `LI` and, where a layer feeds their spikes back,
    `RLeaky` and `RSynaptic`; inputs of other gain than 1 are scaled before them. Their membrane is
    ``v - v_leak`` and starts at 0; with ``start="zero"`` it is ``v``, and ``v_leak`` a constant
    input. ``"zero"`` resets it to ``v_reset``, ``"subtract"`` by
    ``v_threshold - v_reset``; late resets are those of the named neurons. Other loops are closed
    over time where the walk from the input closes them.

    Args:
        graph: a ``nir.NIRGraph``, or the path of a file that holds one.
        dt: time step in the unit of the graph's time constants, seconds by NIR's definition.
        reset: ``"subtract"``, ``"zero"`` or ``"none"``.
        delay: whether the reset acts one step after the spike.
        start: where the membrane starts: ``"rest"``, at ``v_leak``, or ``"zero"``. Default: the
            graph's metadata ``{"spikeloom": {"start": ...}}``, else ``"rest"``.
        convention: ``"snntorch"``, ``"norse"``, ``"sinabs"``, ``"spikingjelly"`` or ``"rockpool"``
            for a graph that one of them wrote, or a `Convention`.
        spike_grad: surrogate gradient of all neurons; default: the recorded one, else that of
            `Neuron`.
        dtype: of the network; default: the recorded one, else torch's default.

    Returns:
        A module that takes one step [B, ...] per call; run it with ``snn.run``.

    Raises:
        ValueError: the graph is malformed, has a node that is not NIR's, or does not say what it
            must; the message names the node, and the path if it came from a file.
        TypeError: ``graph`` or ``convention`` is something else.
        ImportError: h5py is needed to read a file, and missing.

    Source: Pedersen et al. (2024), Nat. Commun. 15, 8122, for NIR.

    >>> import torch, spikeloom as snn
    >>> from spikeloom.nir import to_nir, from_nir
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(beta=0.9, init_hidden=True))
    >>> from_nir(to_nir(net))
    Network(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): Leaky(threshold=1, ..., beta=0.9, reset_mechanism='subtract', mode='step')
    )
    """
    try:
        return _made(read(graph), dt, reset, delay, start, convention, spike_grad, dtype)
    except ValueError as error:
        if isinstance(graph, (str, Path)) and str(graph) not in str(error):
            raise ValueError(f"{graph}: {error}") from error
        raise


def _made(
    flat: Flat,
    dt: float | None,
    reset: str | None,
    delay: bool | None,
    start: str | None,
    convention: str | Convention | None,
    spike_grad: Any,
    dtype: torch.dtype | None,
) -> Network:
    """The network of a flat graph."""
    own = flat.metadata.get("spikeloom", {})
    check_own(own)
    _put_in_order(flat, own)
    written = getattr(torch, str(own.get("dtype")), None)
    if dtype is None:
        dtype = torch.get_default_dtype()
        if isinstance(written, torch.dtype) and written.is_floating_point:
            dtype = written
    elif not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point dtype, got {dtype!r}; write torch.float32")
    recorded = float(own["dt"]) if "dt" in own else None
    delay = None if delay is None else flag("delay", delay)
    if convention is None and own.get("target") in CONVENTIONS:
        convention = str(own["target"])  # its decays and its threshold
    begin = own.get("start", "rest") if start is None else start
    rules = convention_of(convention)
    settings = Settings(dt, reset, delay, recorded, rules, spike_grad, dtype, begin)
    with torch.random.fork_rng(devices=[]):  # layers draw weights that are replaced at once
        return _network(flat, settings)


def _put_in_order(flat: Flat, own: Mapping[str, Any]) -> None:
    """Restore the order of inputs and outputs; a file sorts its nodes."""
    inputs, outputs = order_in(own, "inputs"), order_in(own, "outputs")
    if set(inputs) == flat.inputs.keys():
        flat.inputs = {name: flat.inputs[name] for name in inputs}
    if set(outputs) == set(flat.outputs):
        flat.outputs = outputs


@dataclass
class _Made:
    """The modules by name, with the nodes and edges left after a neuron's nodes are merged."""

    modules: dict[str, nn.Module] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    inside: set[tuple[str, str]] = field(default_factory=set)

    def add(self, name: str, module: nn.Module, node: Node, path: list[str]) -> None:
        """Enter the module that replaces the nodes along a path of edges."""
        self.modules[name] = module
        self.nodes[name] = node
        self.merged |= dict.fromkeys(path, name)
        self.inside |= set(pairwise(path))


def _network(flat: Flat, settings: Settings) -> Network:
    made = _modules(flat, settings)
    name_of = made.merged
    edges = [
        (name_of.get(a, a), name_of.get(b, b)) for a, b in flat.edges if (a, b) not in made.inside
    ]
    order, back = order_of(Flat(made.nodes, edges, flat.inputs, flat.outputs))
    paths = paths_of(list(made.nodes))
    steps = [
        Step(
            name,
            paths[name],
            tuple(a for a, b in edges if b == name and (a, b) not in back),
            tuple(a for a, b in edges if b == name and (a, b) in back),
        )
        for name in order
    ]
    outputs = [tuple(a for a, b in edges if b == name) for name in flat.outputs]
    modules = {paths[name]: made.modules[name] for name in order}
    net = Network(modules, steps, list(flat.inputs), outputs, settings.convention.loop_bias).to(
        settings.dtype
    )
    net.shapes = _shapes(net, flat, settings.dtype)
    return net


def _shapes(net: Network, flat: Flat, dtype: torch.dtype) -> dict[str, Any]:
    """What reaches each node, found out by a dry run, which also shows where nodes do not fit."""
    unknown = next((name for name, shape in flat.inputs.items() if shape is None), None)
    if unknown is not None:
        if net.delayed:
            raise ValueError(
                f"input {unknown!r} has no shape, and the graph has a loop that needs it; give it "
                "one"
            )
        return {}
    shapes = [shape for shape in flat.inputs.values() if shape is not None]
    with torch.no_grad():
        try:
            return net.shapes_for(*(torch.zeros(1, *shape, dtype=dtype) for shape in shapes))
        except ValueError:
            if not all(shape[:1] == (1,) for shape in shapes):
                raise
            return net.shapes_for(
                *(torch.zeros(shape, dtype=dtype) for shape in shapes)
            )  # the 1 was the batch


def _modules(flat: Flat, settings: Settings) -> _Made:
    made = _Made()
    for loop in loops_of(flat):
        if settings.convention.loop_bias or not _has_bias(flat.nodes[loop.feedback]):
            _loop(made, flat, loop, settings)
    for name, node in flat.nodes.items():
        if name in made.merged:
            continue
        if not is_neuron(node):
            with _named(node):
                layer = layer_module(node, settings.dtype)
            made.add(name, layer, node, [name])
            continue
        behind = graded(flat, name)
        scale = None if behind is None else flat.nodes[behind]
        with _named(node):
            module = neuron_module(node, settings, scale=scale)
        if module is None:
            raise node.fail("has no module of its own")
        if behind is not None:
            made.modules.pop(behind, None)
            made.nodes.pop(behind, None)
        made.add(name, module, node, [name, *([behind] if behind else [])])
    return made


@contextmanager
def _named(node: Node) -> Iterator[None]:
    """Add the node to what the constructor of a module raises about its fields."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError, OverflowError, MemoryError) as error:
        if str(error).startswith("node "):
            raise
        raise node.fail((str(error) or type(error).__name__).splitlines()[0]) from error


def _loop(made: _Made, flat: Flat, loop: Loop, settings: Settings) -> None:
    """Add the recurrent neuron that a loop is, if it is one of ours."""
    scale = None if loop.scale is None else flat.nodes[loop.scale]
    node, feedback = flat.nodes[loop.neuron], flat.nodes[loop.feedback]
    with _named(node):
        module = neuron_module(node, settings, feedback=feedback, scale=scale)
    if module is None:
        return
    group = [loop.neuron, *([loop.scale] if loop.scale else []), loop.feedback]
    path = loop.neuron.rpartition(".")[0]  # a subgraph that is nothing but this loop gives its name
    alone = {name for name in flat.nodes if name.startswith(f"{path}.")} == set(group)
    made.add(path if path and alone else loop.neuron, module, node, [*group, loop.neuron])


def _has_bias(node: Node) -> bool:
    bias = node.fields.get("bias")
    return bias is not None and bool(np.any(np.asarray(bias)))
