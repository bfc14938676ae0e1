"""Writing: from a network to a NIR graph."""

import json
import sys
import warnings
from inspect import signature
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core import checks
from ..core.neuron import Neuron
from ..core.numbers import flag, network, real
from .layer_nodes import flatten_node, layer_node, scale_node
from .modules import Offset
from .neuron_nodes import neuron_nodes
from .node import Node
from .targets import SPIKELOOM, SPIKING, TARGETS, carried, check, fitted, time_step
from .wiring import Part, Wiring, step_of_input, wiring_of

__all__ = ["to_nir"]

Edge = tuple[str, str]


def to_nir(
    net: nn.Module,
    sample: Tensor | tuple[Tensor, ...] | None = None,
    *,
    dt: float | None = None,
    args: tuple[Any, ...] = (),
    name: str = "",
    target: str | None = None,
    strict: bool = True,
) -> Any:
    """Write a network as a NIR graph.

    Every neuron parameter is written in the full shape of its layer. What NIR has no field for goes
    into the metadata, where `from_nir` finds it: time step, reset rule and delay, surrogate, what
    learns. Other libraries ignore it: most reset to zero in the step of the spike. With ``target``
    the graph is written for one of them, so that it computes the same spikes, or refused. Without
    it a `UserWarning` names the neurons with another reset. Recurrent neurons become a subgraph
    with a loop.

    ``nir.write(path, graph)`` makes a file of it. Convolutions with groups, and those with kernels
    that are not square, are written with zeros between the groups and around the kernel, since
    ``nir.read`` refuses others; `from_nir` cuts the zeros away again. A kernel such as 2 x 3, which
    zeros on both sides do not make square, is written as it is with a `UserWarning`.

    Args:
        net: takes one time step [B, ...] per call and calls each neuron with its input only. Layers
            without NIR node, such as batch normalisation or max pooling, are refused; dropout is
            left out.
        sample: one step of input, [B, ...], or a tuple of them for several inputs; only shapes and
            dtype matter. May be left out if the first layer is linear.
        dt: time step in seconds, to turn decays per step into time constants. Default: 1e-4, or
            that of the target: 1e-3 for Norse and Rockpool, 1 for Sinabs and Lava, which count
            in steps.
        args: further arguments of ``net.forward``.
        name: of the network, for the metadata.
        target: the library that shall read the graph: ``"snntorch"``, ``"norse"``, ``"sinabs"``,
            ``"spikingjelly"``, ``"rockpool"``, ``"lava"``, or ``"spikeloom"``, which takes every
            reset. snnTorch and Norse flatten the batch axis with the others: after ``nn.Flatten``
            they run single samples without batch axis. `check` lists what they cannot run.
        strict: refuse a network that the target would run with other spikes. With ``False`` the
            obstacles are a `UserWarning`: write such a graph only to compare the spikes there, for
            example where the weights allow several spikes in a step and the data never bring them.

    Returns:
        A ``nir.NIRGraph`` with a node for each layer, called by its path in ``net``.

    Raises:
        TypeError: ``net`` is no module, or an argument is of a wrong kind.
        ValueError: something in the network has no NIR node (the message names it), the sample does
            not fit, ``dt`` is not positive or not that of the target, or the target cannot run
            the network with the same spikes.
        ImportError: nir is not installed.

    Source: Pedersen et al. (2024), Nat. Commun. 15, 8122, for NIR.

    >>> import torch, spikeloom as snn
    >>> from spikeloom.nir import to_nir
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(beta=0.9, init_hidden=True))
    >>> graph = to_nir(net, target="spikeloom")
    >>> list(graph.nodes), graph.edges
    (['input', '0', '1', 'output'], [('input', '0'), ('0', '1'), ('1', 'output')])
    >>> graph.nodes["1"].tau
    array([0.001, 0.001])
    """
    nir = checks.require("nir", extra="nir", purpose="writing a NIR graph")
    if target not in (None, SPIKELOOM):
        checks.choice("target", target, (*TARGETS, SPIKELOOM))
    strict = flag("strict", strict)
    dt = None if dt is None else real("dt", dt, 0.0, open_low=True, example=1e-4)
    dt = time_step(target, dt)
    if not isinstance(args, (tuple, list)):
        raise TypeError(
            f"args must be a tuple of further arguments, got {args!r}; write args=(...,)"
        )
    if not isinstance(name, str):
        raise TypeError(f"name must be a text, got {type(name).__name__}; write name='net'")
    network(net)
    checks.finite_parameters(net)
    sample = _sample(net) if sample is None else sample
    step_of_input(sample)
    wiring = wiring_of(net, sample, tuple(args))
    version = str(getattr(sys.modules[__name__.partition(".")[0]], "__version__", "unknown"))
    own = {"dt": dt, "dtype": str(wiring.dtype).removeprefix("torch."), "version": version}
    nodes, edges = _nodes(wiring, dt)
    if target is None:
        _warn(nodes)
    else:
        own["target"] = target
    for kind, key in (("Input", "inputs"), ("Output", "outputs")):
        names = [n for n, node in nodes.items() if node.kind == kind]
        if len(names) > 1:  # a file sorts its nodes
            own[key] = json.dumps(names)
    graph = _graph(nir, {n: fitted(node, target, dt) for n, node in nodes.items()}, edges, wiring)
    graph.metadata = {"spikeloom": own} | ({"name": name} if name else {})
    if target in TARGETS:
        _judge(check(graph, target), TARGETS[target].name, strict)
    return graph


def _judge(obstacles: list[str], library: str, strict: bool) -> None:
    """Raise, or warn, where there are obstacles."""
    message = f"{library} would not run this network with the same spikes: {'; '.join(obstacles)}"
    if obstacles and strict:
        raise ValueError(message)
    if obstacles:
        warnings.warn(message, stacklevel=3)


def _warn(nodes: dict[str, Node]) -> None:
    """Warn about neurons whose reset is not the one that most readers apply."""
    found = []
    for name, node in nodes.items():
        inner = node.fields["nodes"].values() if node.kind == "NIRGraph" else [node]
        found += [f"{name!r} ({reset})" for each in inner if (reset := carried(each))]
    if found:
        warnings.warn(
            f"NIR has no field for the reset of {', '.join(found)}: Spikeloom reads it from the "
            "metadata, other libraries reset to zero in the step of the spike and fire otherwise; "
            "use reset_mechanism='zero', reset_delay=False, or pass target='spikeloom' (only "
            f"Spikeloom shall read the graph), {', '.join(map(repr, TARGETS))}",
            stacklevel=3,
        )


def _sample(net: nn.Module) -> Tensor:
    """One step of input for a network that begins with a linear layer."""
    layers = (m for m in net.modules() if not list(m.children()))
    first = next((m for m in layers if not isinstance(m, (nn.Identity, nn.Dropout))), None)
    if not isinstance(first, nn.Linear):
        raise ValueError(
            f"to_nir needs the shape of the input, and the first layer ({type(first).__name__}) "
            "does not say it; "
            "pass sample=, one step of input, [B, ...]"
        )
    return torch.zeros(1, first.in_features, dtype=first.weight.dtype, device=first.weight.device)


def _nodes(wiring: Wiring, dt: float) -> tuple[dict[str, Node], list[Edge]]:
    """The nodes and edges of the graph; a recurrent neuron is a node of type NIRGraph."""
    nodes: dict[str, Node] = {}
    ends: dict[str, str] = {}  # the node that sends for each part
    for name, shape in wiring.inputs.items():
        ends[name] = _fresh(name.removeprefix(":") or "input", {*wiring.parts, *nodes})
        nodes[ends[name]] = Node("Input", {}, shape=shape)
    inner: list[Edge] = []
    for name, part in wiring.parts.items():
        if not isinstance(part.what, Offset):
            ends[name] = _enter(nodes, inner, name, part, dt)
    for name, part in wiring.parts.items():
        if isinstance(part.what, Offset):
            ends[name] = _shift(nodes, wiring, name, part)
    edges = [
        (ends[s], n) for n, part in wiring.parts.items() if n in nodes for s in part.sources
    ] + inner
    for sources in wiring.outputs:
        end = _fresh("output", nodes)
        nodes[end] = Node("Output", {}, shape=wiring.shape_of(sources[0]))
        edges += [(ends[source], end) for source in sources]
    twice = next((edge for edge in edges if edges.count(edge) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{twice[1]!r} receives {twice[0]!r} twice, and NIR has one edge between two nodes; "
            "multiply"
        )
    return _nested(nodes, edges)


def _nested(nodes: dict[str, Node], edges: list[Edge]) -> tuple[dict[str, Node], list[Edge]]:
    """Make a subgraph of each neuron in a loop with one linear layer: snnTorch reads no other."""
    for lif in [name for name, node in nodes.items() if node.kind in SPIKING]:
        for layer in [b for a, b in edges if a == lif and nodes[b].kind in ("Linear", "Affine")]:
            if {edge for edge in edges if layer in edge} != {(lif, layer), (layer, lif)}:
                continue
            width = len(nodes[layer].fields["weight"])
            loop = _loop({"lif": nodes.pop(lif)}, nodes.pop(layer), (width,))
            name = _fresh(lif.removesuffix(".neuron"), nodes)
            nodes[name] = loop
            edges = [
                (name if a == lif else a, name if b == lif else b)
                for a, b in edges
                if layer not in (a, b)
            ]
            break
    return nodes, edges


def _fresh(name: str, taken: Any) -> str:
    fresh, n = name, 1
    while fresh in taken:
        fresh, n = f"{name}_{n}", n + 1
    return fresh


def _enter(nodes: dict[str, Node], edges: list[Edge], name: str, part: Part, dt: float) -> str:
    """Add the nodes of a part; returns the name of the one that sends for it."""
    if part.what is None:
        nodes[name] = flatten_node(part.shape_in, 0, len(part.shape_in) - 1)
    elif not isinstance(part.what, nn.Module):
        nodes[name] = scale_node(part.what, part.shape_in)
    elif not isinstance(part.what, Neuron):
        nodes[name] = layer_node(name, part.what, part.shape_in, dt)
    else:
        chain, feedback = neuron_nodes(name, part.what, part.shape_out, dt)
        if feedback is not None:
            nodes[name] = _loop(chain, feedback, part.shape_out)
            return name
        nodes[name] = chain.pop("lif")
        for child, node in chain.items():
            nodes[f"{name}.{child}"] = node
            edges.append((name, f"{name}.{child}"))
            return f"{name}.{child}"
    return name


def _loop(chain: dict[str, Node], feedback: Node, shape: tuple[int, ...]) -> Node:
    """A subgraph of a neuron and its feedback, in the form that snnTorch reads."""
    names = list(chain)
    nodes = {"input": Node("Input", {}, shape=shape), **chain, "w_rec": feedback}
    nodes["output"] = Node("Output", {}, shape=shape)
    path = [("input", names[0]), *pairwise(names), (names[-1], "w_rec"), ("w_rec", names[0])]
    return Node("NIRGraph", {"nodes": nodes, "edges": [*path, (names[-1], "output")]}, shape=shape)


def _shift(nodes: dict[str, Node], wiring: Wiring, name: str, part: Part) -> str:
    """Write an offset behind a leaky integrator as its v_leak; NIR has no node for it elsewhere."""
    source = part.sources[0]
    listeners = sum(source in each.sources for each in wiring.parts.values()) + sum(
        source in o for o in wiring.outputs
    )
    node = nodes.get(source)
    if node is None or node.kind != "LI" or len(part.sources) > 1 or listeners > 1:
        raise ValueError(
            f"Offset {name!r} has no NIR node; only an LI that nothing else listens to can take "
            "it over"
        )
    node.fields["v_leak"] = node.fields["v_leak"] + part.what.value.detach().cpu().double().numpy()
    return source


def _graph(
    nir: Any, nodes: dict[str, Node], edges: list[Edge], wiring: Wiring | None = None
) -> Any:
    """The objects of nir with our known types; nir's own inference assumes square kernels."""
    objects = {name: _object(nir, node) for name, node in nodes.items()}
    for name, each in objects.items():
        if wiring is not None and name in wiring.parts:
            each.input_type = {"input": np.array(wiring.parts[name].shape_in)}
            each.output_type = {"output": np.array(wiring.parts[name].shape_out)}
    options = {"type_check": False} if "type_check" in signature(nir.NIRGraph).parameters else {}
    return nir.NIRGraph(objects, edges, **options)


def _object(nir: Any, node: Node) -> Any:
    shape = np.array(node.shape)
    if node.kind == "Input":
        return nir.Input({"input": shape})
    if node.kind == "Output":
        return nir.Output({"output": shape})
    if node.kind == "NIRGraph":
        return _graph(nir, node.fields["nodes"], node.fields["edges"])
    make = getattr(nir, node.kind, None)
    if make is None:
        raise ValueError(f"this version of nir has no {node.kind}; install nir>=1.0.8")
    known = signature(make).parameters  # nir 1.0.4, which Sinabs and Rockpool want, knows fewer
    fields = dict(node.fields)
    reset = None if "v_reset" in known else fields.pop("v_reset", None)
    if np.any(reset):
        raise ValueError(
            "a neuron is reset to another potential than 0, which this version of nir does not "
            "know; install nir>=1.0.8"
        )
    if node.kind == "Flatten":
        fields["input_type"] = {"input": shape}
    if "metadata" in known:
        fields["metadata"] = dict(node.metadata)
    return make(**fields)
