"""A NIR graph, from memory or from a file, as one flat graph of checked nodes.

Files are read without NIR's own type check, which refuses graphs that older versions of nir wrote.
Subgraphs are replaced by what is in them; their nodes are called ``subgraph.node``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .file import DEEPEST, content_of
from .metadata import check_metadata
from .node import FIELDS, Node, nearest

__all__ = ["Flat", "read"]

Edge = tuple[str, str]

MOST_ELEMENTS = 2**28  # of one sample: 1 GiB of float32


@dataclass
class Flat:
    """A graph without subgraphs.

    Args:
        nodes: by name, all but inputs and outputs.
        edges: between the names of nodes, inputs and outputs.
        inputs: names of the inputs and the shape of one sample each, None where the graph does not
            say.
        outputs: names of the outputs.
        metadata: of the graph.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    inputs: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


def read(graph: Any) -> Flat:
    """The flat graph of a ``nir.NIRGraph`` or of a file.

    Raises:
        ValueError: the file is no NIR file, or the graph is malformed; the message names the node.
        TypeError: neither a graph nor a path.
    """
    if isinstance(graph, (str, Path)):
        root = _from_fields(str(graph), content_of(Path(graph)))
    elif type(graph).__name__ == "NIRGraph":
        root = _from_object("graph", graph, 1)
    else:
        raise TypeError(
            f"from_nir takes a nir.NIRGraph or the path of a file, got {type(graph).__name__}; "
            "a list of nodes becomes a graph by nir.NIRGraph.from_list(...)"
        )
    return _flattened(root)


# -- the two sources -------------------------------------------------------------------------------


def _from_fields(name: str, content: dict[str, Any]) -> Node:
    """A node from the groups of a file."""
    if not isinstance(content, dict):
        raise ValueError(f"node {name!r} must be a group of fields, got {type(content).__name__}")
    reserved = ("type", "metadata", "shape", "input_type", "version")
    fields = {k: v for k, v in content.items() if k not in reserved}
    node = Node(str(content.get("type", "?")), fields, content.get("metadata", {}), name=name)
    if node.kind == "NIRGraph":
        node.need("nodes", "edges")
        if not isinstance(fields["nodes"], dict):
            raise node.fail("its nodes must be a group, got a dataset")
        node.fields["nodes"] = {k: _from_fields(k, v) for k, v in fields["nodes"].items()}
        node.fields["edges"] = _edges(node)
    else:
        node.shape = _shape(node, content.get("shape", content.get("input_type")))
    return node


def _edges(node: Node) -> list[Edge]:
    """Edges of a file: an array of names, [E, 2]."""
    value = node.fields["edges"]
    edges = np.asarray(value)
    if isinstance(value, dict) or (edges.size and (edges.ndim != 2 or edges.shape[1] != 2)):
        raise node.fail(f"its edges must be pairs of names, [E, 2], got {edges.shape}")
    pairs = []
    for edge in edges.reshape(-1, 2).tolist():
        ends = [end.decode("utf-8", "replace") if isinstance(end, bytes) else end for end in edge]
        if not all(isinstance(end, str) for end in ends):
            raise node.fail(f"its edges must be pairs of names, got {ends}")
        pairs.append((ends[0], ends[1]))
    return pairs


def _from_object(name: str, graph: Any, depth: int) -> Node:
    """A node from an object of nir."""
    if depth > DEEPEST:
        raise ValueError(
            f"subgraphs must not be nested deeper than {DEEPEST}, got {name!r}; does it contain "
            "itself?"
        )
    reserved = ("metadata", "input_type", "output_type")
    own = {k: v for k, v in vars(graph).items() if k not in reserved}
    node = Node(type(graph).__name__, own, dict(getattr(graph, "metadata", {})), name=name)
    if node.kind == "NIRGraph":
        node.fields["nodes"] = {
            k: _from_object(k, each, depth + 1) for k, each in graph.nodes.items()
        }
        node.fields["edges"] = [(str(a), str(b)) for a, b in graph.edges]
    elif isinstance(graph.input_type, dict):
        node.shape = _shape(node, next(iter(graph.input_type.values()), None))
    return node


def _shape(node: Node, value: Any) -> tuple[int, ...] | None:
    """Shape of one sample, or None where the graph does not say it."""
    if value is None:
        return None
    sizes = np.atleast_1d(np.asarray(value))
    numeric = sizes.ndim == 1 and sizes.dtype.kind in "iuf"
    if not numeric or not np.isfinite(sizes).all() or (sizes != np.floor(sizes)).any():
        if node.kind not in FIELDS:
            return None  # refused by its type
        raise node.fail(f"its shape must be whole numbers, got {value!r}")
    shape = tuple(int(size) for size in sizes)
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_ELEMENTS:
        raise node.fail(f"its shape must have 0 to {MOST_ELEMENTS} elements, got {shape}")
    return shape


# -- one graph without subgraphs -------------------------------------------------------------------


def _flattened(root: Node) -> Flat:
    if root.kind != "NIRGraph":
        raise ValueError(
            f"the top node is of type {root.kind!r}; it must be a NIRGraph: "
            "nir.NIRGraph.from_list(node)"
        )
    if not isinstance(root.metadata, Mapping):
        raise ValueError(
            f"the metadata of the graph must be a group, got {type(root.metadata).__name__}"
        )
    flat = Flat(metadata=dict(root.metadata))
    root.name = ""
    _check_edges(root)
    _enter_graph(flat, root)
    ends = root.fields["nodes"]
    flat.inputs = {name: node.shape for name, node in ends.items() if node.kind == "Input"}
    flat.outputs = [name for name, node in ends.items() if node.kind == "Output"]
    _splice(flat)
    _open_ends(flat)
    return flat


def _enter_graph(flat: Flat, graph: Node) -> None:
    """Add what is in a graph, nodes and edges."""
    nodes = graph.fields["nodes"]
    for child, node in nodes.items():
        node.name = f"{graph.name}.{child}" if graph.name else child
        _enter(flat, node)
    flat.edges += [(_ends(nodes[a])[1], _ends(nodes[b])[0]) for a, b in graph.fields["edges"]]


def _enter(flat: Flat, node: Node) -> None:
    """Add a node, or what is in it."""
    if node.kind != "NIRGraph":
        _check(node)
        flat.nodes[node.name] = node
        return
    _check_edges(node)
    for kind in ("Input", "Output"):
        count = sum(each.kind == kind for each in node.fields["nodes"].values())
        if count != 1:
            raise node.fail(
                f"a subgraph must have one {kind}, got {count}; give it one, and split it if "
                "needed",
            )
    _enter_graph(flat, node)


def _ends(node: Node) -> Edge:
    """The nodes that receive and send for a node: of a subgraph its Input and its Output."""
    if node.kind != "NIRGraph":
        return node.name, node.name
    names = {each.kind: each.name for each in node.fields["nodes"].values()}
    return names["Input"], names["Output"]


def _check(node: Node) -> None:
    if node.kind not in FIELDS:
        raise node.fail(f"there is no NIR type {node.kind!r}; {nearest(node.kind)}")
    node.need(*FIELDS[node.kind])
    check_metadata(node)


def _check_edges(graph: Node) -> None:
    where = f"subgraph {graph.name!r}" if graph.name else "the graph"
    nodes, seen = graph.fields["nodes"], set()
    for edge in graph.fields["edges"]:
        for end in edge:
            if end not in nodes:
                raise ValueError(
                    f"{where} has an edge {edge}, but no node {end!r}; its nodes are "
                    f"{', '.join(nodes)}"
                )
        if edge in seen:
            raise ValueError(
                f"{where} has the edge {edge} twice; write graph.edges = "
                "list(dict.fromkeys(graph.edges))"
            )
        seen.add(edge)


def _splice(flat: Flat) -> None:
    """Remove the inputs and outputs of subgraphs and connect their sources to their targets."""
    outer = {*flat.inputs, *flat.outputs}
    for name in [n for n, node in flat.nodes.items() if node.kind in ("Input", "Output")]:
        if name not in outer:
            before = [a for a, b in flat.edges if b == name]
            after = [b for a, b in flat.edges if a == name]
            rest = [edge for edge in flat.edges if name not in edge]
            flat.edges = rest + [(a, b) for a in before for b in after]
        del flat.nodes[name]


def _open_ends(flat: Flat) -> None:
    """Nodes without source are inputs and nodes without target outputs if none is declared."""
    if not flat.inputs:
        for name in [n for n in flat.nodes if not any(b == n for _, b in flat.edges)]:
            flat.inputs[f"{name}.input"] = flat.nodes[name].shape
            flat.edges.append((f"{name}.input", name))
    if not flat.outputs:
        for name in [n for n in flat.nodes if not any(a == n for a, _ in flat.edges)]:
            flat.outputs.append(f"{name}.output")
            flat.edges.append((name, f"{name}.output"))
    if not flat.inputs or not flat.outputs:
        raise ValueError(
            "the graph is a circle without an Input and an Output; add nodes nir.Input and "
            "nir.Output and their edges"
        )
