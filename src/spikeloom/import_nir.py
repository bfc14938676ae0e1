"""`spikeloom.nir.from_nir` under snnTorch's name, `import_from_nir`."""

from typing import Any

from .nir import Network, from_nir

__all__ = ["import_from_nir"]


def import_from_nir(graph: Any) -> Network:
    """Converts a NIR graph to a network, with snnTorch's time step of 0.1 ms and immediate reset.

    Metadata of the graph, as written by `export_to_nir`, take precedence over both. Unlike in
    snnTorch, an IF does not leak, parameters may differ between neurons, ``v_leak`` and ``v_reset``
    have an effect, and all NIR nodes are supported.

    Args:
        graph: a ``nir.NIRGraph``, or the path of a file.

    Returns:
        A module that takes one step [B, ...] and returns ``(output, state)``, as in snnTorch. Its
        neurons remember their state; ``state`` is an empty dictionary, which may be passed back.
        `spikeloom.nir.from_nir` makes a module that returns the output alone.

    Raises:
        ValueError: the graph is malformed, see `from_nir`.

    >>> import torch, spikeloom as snn
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(beta=0.9, init_hidden=True))
    >>> graph = snn.export_nir.export_to_nir(net, torch.rand(1, 3))
    >>> out, state = snn.import_nir.import_from_nir(graph)(torch.rand(4, 3))
    >>> out.shape
    torch.Size([4, 2])
    """
    net = from_nir(graph, convention="snntorch")
    net.with_state = True
    return net
