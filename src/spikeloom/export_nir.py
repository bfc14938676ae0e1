"""`spikeloom.nir.to_nir` under snnTorch's name, `export_to_nir`."""

from typing import Any

from torch import Tensor, nn

from .core import checks
from .nir import to_nir

__all__ = ["export_to_nir"]


def export_to_nir(
    module: nn.Module,
    sample_data: Tensor,
    model_name: str = "snntorch",
    model_fwd_args: list[Any] = [],  # noqa: B006 (snnTorch's default; it is only read)
    ignore_dims: list[int] = [],  # noqa: B006
) -> Any:
    """Converts a network to a NIR graph, with snnTorch's arguments and time step of 0.1 ms.

    Unlike in snnTorch, scalar parameters have the shape of the layer, so that the file can be read;
    reset rule, delay and surrogate are recorded; and a layer without NIR node raises an error
    instead of printing a warning. A recurrent neuron becomes two nodes, ``1.lif`` and ``1.w_rec``;
    `spikeloom.nir.to_nir` writes the two as a subgraph.

    Args:
        module: the network, see `to_nir`.
        sample_data: one step of input, [B, ...], or one sample without batch axis if the first
            layer is linear or a convolution.
        model_name: name in the metadata.
        model_fwd_args: further arguments of ``forward``.
        ignore_dims: empty or [0], the batch axis, which is never in the graph.

    Returns:
        A ``nir.NIRGraph``.

    Raises:
        ValueError: an error of `to_nir`, or ``ignore_dims`` names another axis.

    >>> import torch, spikeloom as snn
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(beta=0.9, init_hidden=True))
    >>> list(snn.export_nir.export_to_nir(net, torch.rand(1, 3)).nodes)
    ['input', '0', '1', 'output']
    """
    if list(ignore_dims) not in ([], [0]):
        raise ValueError(
            f"ignore_dims can only name the batch axis, [0], got {ignore_dims!r}; leave it out"
        )
    if not ignore_dims and sample_data.dim() == _axes(module):
        sample_data = sample_data[None]
    return _flat(to_nir(module, sample_data, args=tuple(model_fwd_args), name=model_name))


def _flat(graph: Any) -> Any:
    """Flattens the subgraphs of a graph: feedback and neuron become ``1.w_rec`` and ``1.lif``."""
    nir = checks.require("nir", extra="nir", purpose="export_to_nir")
    inner = {name: node for name, node in graph.nodes.items() if isinstance(node, nir.NIRGraph)}
    if not inner:
        return graph
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    first: dict[str, list[str]] = {}
    last: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        if name not in inner:
            nodes[name] = node
            first[name] = [name]
            last[name] = [name]
            continue
        ends = {n for n, part in node.nodes.items() if isinstance(part, (nir.Input, nir.Output))}
        nodes |= {f"{name}.{n}": part for n, part in node.nodes.items() if n not in ends}
        first[name] = [f"{name}.{b}" for a, b in node.edges if a in ends]
        last[name] = [f"{name}.{a}" for a, b in node.edges if b in ends]
        edges += [
            (f"{name}.{a}", f"{name}.{b}") for a, b in node.edges if a not in ends and b not in ends
        ]
    edges += [(x, y) for a, b in graph.edges for x in last[a] for y in first[b]]
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=graph.metadata)


def _axes(module: nn.Module) -> int:
    """Number of axes of one sample for the first layer, 1 if unknown."""
    first = next((m for m in module.modules() if not list(m.children())), module)
    return {nn.Conv1d: 2, nn.Conv2d: 3}.get(type(first), 1)
