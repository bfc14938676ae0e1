"""Two layers of which the second alone reads the first: who they are, and which values went through both already."""

from typing import Any

from torch import fx

__all__ = ["Pairs"]


class Pairs:
    """The pairs of one run.

    Args:
        graph: of one step.
    """

    def __init__(self, graph: fx.Graph) -> None:
        calls = [node for node in graph.nodes if node.op == "call_module"]
        paths = [str(node.target) for node in calls]
        self.once = {path for path in paths if paths.count(path) == 1}
        found = {path: _reader(node) for path, node in zip(paths, calls, strict=True) if path in self.once}
        self.readers = {path: reader for path, reader in found.items() if reader}
        self.done: list[tuple[Any, str]] = []

    def finish(self, value: Any, how: str) -> Any:
        """Remember that ``value`` went through both layers, and return it."""
        self.done.append((value, how))
        return value

    def finished(self, value: Any) -> str:
        """How the layer that now reads ``value`` ran together with the one before it; "" if it did not. Asked once."""
        found = [how for v, how in self.done if v is value]
        self.done = [(v, how) for v, how in self.done if v is not value]
        return found[0] if found else ""


def _reader(node: fx.Node) -> str:
    """The path of the layer that alone reads a value, and reads nothing else."""
    readers = list(node.users)
    alone = len(readers) == 1 and readers[0].op == "call_module"
    return str(readers[0].target) if alone and len(readers[0].args) == 1 and not readers[0].kwargs else ""
