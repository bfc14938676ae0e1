"""The largest activation that the weights allow, layer by layer, for model-based balancing."""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import conv, pooling

from .activations import SITES
from .fx_graph import place
from .sample_batches import batches

__all__ = ["bounds"]


class Interval:
    """The range of a signal, from ``low`` to ``high``."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high


def bounds(gm: fx.GraphModule, data: Any) -> dict[str, float]:
    """The largest possible value of each activation for inputs in the range of the samples.

    For a layer without bias behind non-negative signals it is the largest sum of the positive
    weights of a neuron times the bound of the previous layer, the scale of the model-based
    balancing of Diehl et al.

    Raises:
        ValueError: an operation is not supported.

    >>> from spikeloom.conversion.fx_graph import shaped, traced
    >>> from spikeloom.conversion.normalise import normalised
    >>> net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU())
    >>> _ = net[0].weight.data.copy_(torch.tensor([[2.0, -1.0]]))
    >>> x = torch.tensor([[0.0, 1.0]])
    >>> bounds(normalised(shaped(traced(net), x)), x)
    {'1': 2.0}
    """
    extremes = [(float(x.min()), float(x.max())) for x in batches(data, gm)]
    low = min(a for a, _ in extremes)
    high = max(b for _, b in extremes)
    env: dict[fx.Node, Any] = {}
    found: dict[str, float] = {}
    for node in gm.graph.nodes:
        if node.op == "placeholder":
            env[node] = Interval(min(low, 0.0), max(high, 0.0))
        elif node.op == "get_attr":
            env[node] = operator.attrgetter(str(node.target))(gm)
        elif node.op != "output":
            env[node] = _through(gm, node, env)
            if node.op == "call_module" and isinstance(gm.get_submodule(str(node.target)), SITES):
                found[str(node.target)] = env[node].high or 1.0
    return found


@torch.no_grad()
def _through(gm: fx.GraphModule, node: fx.Node, env: dict[fx.Node, Any]) -> Any:
    args: Any = fx.map_arg(node.args, env.__getitem__)
    signals = [a for a in args if isinstance(a, Interval)]
    if node.op == "call_module":
        module: Any = gm.get_submodule(str(node.target))
        if isinstance(module, (nn.Linear, conv._ConvNd)):
            return _weighted(module, args[0])
        if isinstance(module, SITES):
            high = min(args[0].high, module.ceiling or float("inf"))
            return Interval(max(args[0].low, 0.0), max(high, 0.0))
        if isinstance(
            module, (nn.Flatten, pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._AdaptiveAvgPoolNd)
        ):
            return args[0]
    elif node.target in (torch.cat, torch.concat):
        return Interval(min(a.low for a in args[0]), max(a.high for a in args[0]))
    elif node.target in (operator.add, torch.add) and len(signals) == 2:
        return Interval(args[0].low + args[1].low, args[0].high + args[1].high)
    elif node.target in (operator.add, operator.mul) and len(signals) == 1:
        call: Any = node.target
        constant = torch.as_tensor(next(a for a in args if not isinstance(a, Interval)))
        ends = [torch.as_tensor(call(constant, end)) for end in (signals[0].low, signals[0].high)]
        return Interval(float(min(e.min() for e in ends)), float(max(e.max() for e in ends)))
    raise ValueError(
        f'{place(gm, node)} has no bound by weights; write method="diehl_data" or '
        'method="percentile"'
    )


def _weighted(module: Any, x: Interval) -> Interval:
    weight = module.weight
    if isinstance(module, conv._ConvTransposeNd):
        weight = weight.transpose(0, 1)
    rows = weight.flatten(1)
    positive = rows.clamp(min=0).sum(1)
    negative = rows.clamp(max=0).sum(1)
    bias: Tensor | float = 0.0 if module.bias is None else module.bias
    low = positive * x.low + negative * x.high + bias
    high = positive * x.high + negative * x.low + bias
    return Interval(float(low.min()), float(high.max()))
