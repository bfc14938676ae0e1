"""snnTorch's name for writing NIR: `export_to_nir`. See `spikeloom.nir.to_nir`, which does the work."""

from typing import Any

from torch import Tensor, nn

from .nir import to_nir

__all__ = ["export_to_nir"]


def export_to_nir(
    module: nn.Module,
    sample_data: Tensor,
    model_name: str = "snntorch",
    model_fwd_args: list[Any] = [],  # noqa: B006 (snnTorch's default; it is only read)
    ignore_dims: list[int] = [],  # noqa: B006
) -> Any:
    """Write a network as a NIR graph, with snnTorch's arguments and its time step of 0.1 ms.

    Unlike in snnTorch scalar parameters are written in the shape of the layer, so that the file can be read; reset
    rule, delay and surrogate are recorded; and a layer without NIR node raises instead of printing a warning.

    Args:
        module: the network, see `to_nir`.
        sample_data: one step of input, [B, ...], or one sample without batch axis if the first layer is linear or a
            convolution.
        model_name: goes into the metadata.
        model_fwd_args: further arguments of ``forward``.
        ignore_dims: nothing or [0], the batch axis, which never is in the graph.

    Returns:
        A ``nir.NIRGraph``.

    Raises:
        ValueError: as `to_nir`, or another axis is to be ignored.

    >>> import torch, spikeloom as snn
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(beta=0.9, init_hidden=True))
    >>> list(snn.export_nir.export_to_nir(net, torch.rand(1, 3)).nodes)
    ['input', '0', '1', 'output']
    """
    if list(ignore_dims) not in ([], [0]):
        raise ValueError(f"ignore_dims can only name the batch axis, [0], got {ignore_dims!r}; leave it out")
    if not ignore_dims and sample_data.dim() == _axes(module):
        sample_data = sample_data[None]
    return to_nir(module, sample_data, args=tuple(model_fwd_args), name=model_name)


def _axes(module: nn.Module) -> int:
    """Axes of one sample, by the first layer; 1 where it does not say."""
    first = next((m for m in module.modules() if not list(m.children())), module)
    return {nn.Conv1d: 2, nn.Conv2d: 3}.get(type(first), 1)
