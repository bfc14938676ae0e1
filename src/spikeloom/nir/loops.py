"""Loops of a graph: which are a recurrent neuron, and where the others are closed over time."""

from typing import NamedTuple

from .node import Node
from .reading import Flat

__all__ = ["Loop", "loops_of", "order_of"]

NEURONS = (
    "I",
    "IF",
    "LI",
    "LIF",
    "CubaLI",
    "CubaLIF",
    "Delay",
)  # what keeps a loop from being instantaneous


class Loop(NamedTuple):
    """A neuron and the layer that feeds its spikes back to it."""

    neuron: str
    feedback: str
    scale: str | None  # the size of its spikes, between the two


def loops_of(flat: Flat) -> list[Loop]:
    """The loops ``neuron -> layer -> neuron`` whose layer serves nothing else."""
    after, before = _neighbours(flat)
    found = []
    for name, node in flat.nodes.items():
        if node.kind not in ("LIF", "IF", "CubaLIF"):
            continue
        scale = graded(flat, name)
        for layer in after.get(scale or name, []):
            kind = flat.nodes[layer].kind if layer in flat.nodes else ""
            alone = before.get(layer) == [scale or name] and after.get(layer) == [name]
            if alone and kind in ("Linear", "Affine", "Scale", "Conv2d"):
                found.append(Loop(name, layer, scale))
                break
    return found


def graded(flat: Flat, name: str) -> str | None:
    """The Scale behind a neuron that was written as the size of its spikes."""
    after, before = _neighbours(flat)
    targets = after.get(name, [])
    if (
        not flat.nodes[name].metadata.get("graded")
        or len(targets) != 1
        or targets[0] not in flat.nodes
    ):
        return None
    is_scale = flat.nodes[targets[0]].kind == "Scale" and before[targets[0]] == [name]
    return targets[0] if is_scale else None


def order_of(flat: Flat) -> tuple[list[str], set[tuple[str, str]]]:
    """An order of execution, and the edges that go against it: those arrive one step later.

    Walks from the inputs along the edges as the graph lists them; an edge that closes a cycle goes
    against the order.

    Raises:
        ValueError: a node cannot be reached from an input, or a cycle has no neuron in it.
    """
    after, _ = _neighbours(flat)
    order: list[str] = []
    back: set[tuple[str, str]] = set()
    state: dict[str, str] = {}
    for start in flat.inputs:
        trail = [(start, iter(after.get(start, [])))]
        state[start] = "open"
        while trail:
            name, targets = trail[-1]
            target = next(targets, None)
            if target is None:
                trail.pop()
                state[name] = "done"
                order.append(name)
            elif state.get(target) == "open":
                _has_memory(
                    flat.nodes, [n for n, _ in trail[[n for n, _ in trail].index(target) :]]
                )
                back.add((name, target))
            elif target not in state:
                state[target] = "open"
                trail.append((target, iter(after.get(target, []))))
    lost = [name for name in (*flat.nodes, *flat.outputs) if name not in state]
    if lost:
        raise ValueError(
            f"node {lost[0]!r} cannot be reached from an input; add an edge to it, or remove it"
        )
    return [name for name in reversed(order) if name in flat.nodes], back


def _has_memory(nodes: dict[str, Node], cycle: list[str]) -> None:
    if not any(nodes[name].kind in NEURONS for name in cycle):
        raise ValueError(
            f"the nodes {', '.join(map(repr, cycle))} form a loop without a neuron or a Delay, "
            "which has no value; "
            "put one into it"
        )


def _neighbours(flat: Flat) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    after: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    for a, b in flat.edges:
        after.setdefault(a, []).append(b)
        before.setdefault(b, []).append(a)
    return after, before
