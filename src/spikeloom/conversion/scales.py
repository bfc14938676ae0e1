"""The scale of each activation, which becomes the size of its spikes.

Scales are measured on samples or bounded by weights. All are in the unit of the activations, so
that nothing is rescaled between layers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from .activations import SITES
from .bounds import bounds
from .fx_graph import called
from .histogram import Histogram
from .sample_batches import batches

__all__ = ["SCALES", "histograms", "scales"]

Scales = dict[str, Tensor]


def scales(gm: fx.GraphModule, data: Any, method: str, settings: Any) -> Scales:
    """The scale of each activation by path, a scalar or one for each channel, [C, 1, ...].

    Args:
        gm: the normalised graph of the ordinary network.
        data: samples, see `batches`.
        method: a key of `SCALES`.
        settings: settings of the conversion.
    """
    found = SCALES[method](gm, data, settings)
    sites: dict[str, Any] = {str(node.target): module for node, module in called(gm, *SITES)}
    for path, module in sites.items():
        if module.ceiling is not None:
            found[path] = found[path].clamp(max=module.ceiling)
    return found


@torch.no_grad()
def histograms(gm: fx.GraphModule, data: Any, per_channel: bool) -> dict[str, Histogram]:
    """The distribution of each activation on samples, optionally for each channel (axis 1)."""
    found: dict[str, Histogram] = {}
    handles = []
    for node, module in called(gm, *SITES):

        def record(
            module: nn.Module, args: Any, output: Tensor, path: str = str(node.target)
        ) -> None:
            if path not in found:
                found[path] = Histogram(output.shape[1] if per_channel else 1)
            found[path].add(output)

        handles.append(module.register_forward_hook(record))
    try:
        for x in batches(data, gm):
            gm(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _shape(gm: fx.GraphModule, path: str, values: Tensor) -> Tensor:
    """Shapes scales to broadcast against a batch, and gives silent channels the largest one."""
    values = values.float()
    largest = values.max()
    values = torch.where(values > 0, values, largest if largest > 0 else torch.ones(()))
    if len(values) == 1:
        return values[0]
    node = next(n for n, _ in called(gm, *SITES) if n.target == path)
    return values.reshape(-1, *(1 for _ in node.meta["shape"][2:]))


def _percentile(gm: fx.GraphModule, data: Any, settings: Any) -> Scales:
    found = histograms(gm, data, settings.per_channel)
    values = {path: hist.percentile(settings.percentile) for path, hist in found.items()}
    # The percentile is 0 if fewer values are active than it leaves above: then use the maximum.
    return {
        path: _shape(gm, path, torch.where(v > 0, v, found[path].largest))
        for path, v in values.items()
    }


def _max(gm: fx.GraphModule, data: Any, settings: Any) -> Scales:
    found = histograms(gm, data, settings.per_channel)
    return {path: _shape(gm, path, hist.largest) for path, hist in found.items()}


def _qcfs(gm: fx.GraphModule, data: Any, settings: Any) -> Scales:
    found = {
        str(node.target): torch.tensor(module.ceiling)
        for node, module in called(gm, *SITES)
        if module.ceiling
    }
    plain = [str(node.target) for node, _ in called(gm, *SITES) if str(node.target) not in found]
    if plain:
        raise ValueError(
            f'method="qcfs" needs a QCFS activation everywhere, and {plain[0]!r} is a ReLU; write '
            'conversion.with_qcfs(ann) and train, or method="percentile"'
        )
    return found


def _mmse(gm: fx.GraphModule, data: Any, settings: Any) -> Scales:
    found = histograms(gm, data, settings.per_channel)
    return {path: _shape(gm, path, least_square(hist, settings)) for path, hist in found.items()}


def least_square(hist: Histogram, settings: Any) -> Tensor:
    """The thresholds with the least mean square error after ``num_steps`` steps.

    >>> from types import SimpleNamespace
    >>> hist = Histogram(); hist.add(torch.linspace(0, 1, 1001))
    >>> least_square(hist, SimpleNamespace(num_steps=4, initial_mem=0.5)).item() > 0.8
    True
    """
    centres = hist.centres()
    steps = settings.num_steps
    best = hist.largest.clone()
    least = torch.full_like(best, float("inf"))
    for share in torch.linspace(0.05, 1.0, 96, dtype=torch.float64):
        theta = (hist.largest * share)[:, None].clamp(min=1e-300)
        fired = (centres * steps / theta + settings.initial_mem).floor().clamp(0, steps)
        error = (hist.counts * (fired * theta / steps - centres) ** 2).sum(1)
        best = torch.where(error < least, theta[:, 0], best)
        least = torch.minimum(error, least)
    return best


def _diehl_data(gm: fx.GraphModule, data: Any, settings: Any) -> Scales:
    """The larger of the largest weight and the largest activation, after Diehl et al. (2015)."""
    found = _max(gm, data, settings)
    weights = _layer_before(gm)
    for path, scale in found.items():
        if path in weights:
            found[path] = torch.maximum(scale, weights[path].detach().max().float().cpu())
    return found


def _layer_before(gm: fx.GraphModule) -> dict[str, Tensor]:
    """The weight of the layer directly before each activation."""
    found = {}
    for node, _ in called(gm, *SITES):
        source = node.all_input_nodes[0]
        if source.op == "call_module":
            weight = getattr(gm.get_submodule(str(source.target)), "weight", None)
            if isinstance(weight, Tensor):
                found[str(node.target)] = weight
    return found


def _diehl_model(gm: fx.GraphModule, data: Any, settings: Any) -> Scales:
    return {path: torch.tensor(high) for path, high in bounds(gm, data).items()}


SCALES: dict[str, Callable[[fx.GraphModule, Any, Any], Scales]] = {
    "percentile": _percentile,
    "max": _max,
    "mmse": _mmse,
    "qcfs": _qcfs,
    "diehl_data": _diehl_data,
    "diehl_model": _diehl_model,
}
