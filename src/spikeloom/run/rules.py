"""Which operations may run over all steps at once.

Three answers for an operation of the network: ``"map"`` acts on each element, so that it runs on ``[T, B, ...]`` as it
is; ``"fold"`` acts on each sample, so that time is folded into the batch, ``[T * B, ...]``; ``"step"`` is everything
else and runs once for each step. Only what is known is folded: an operation that nobody listed is run step by step.
"""

import operator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import activation, batchnorm, conv, dropout, instancenorm, pooling

from ..core.taps import watches

__all__ = ["has_hooks", "in_place", "is_batch_norm", "is_random", "keeps_format", "of_function", "of_module"]

_FOLDABLE = (
    nn.Linear,
    nn.Bilinear,
    nn.Identity,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ZeroPad2d,
    conv._ConvNd,
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
    pooling._LPPoolNd,
    dropout._DropoutNd,
)
_NOT_BATCHWISE = (nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU, nn.Softmax2d)

_MAPS = {
    *(torch.add, torch.sub, torch.mul, torch.div, torch.relu, torch.sigmoid, torch.tanh, torch.abs, torch.exp),
    *(torch.clamp, torch.neg, torch.maximum, torch.minimum, torch.where, torch.sqrt, torch.square, torch.sign),
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.pow),
    *(operator.gt, operator.lt, operator.ge, operator.le),
    *(F.relu, F.relu6, F.elu, F.gelu, F.silu, F.leaky_relu, F.softplus, F.hardtanh, F.sigmoid, F.tanh),
    *("relu", "sigmoid", "tanh", "abs", "exp", "clamp", "neg", "add", "sub", "mul", "div", "float", "detach"),
}
_FOLDS = {
    *(F.linear, F.conv1d, F.conv2d, F.conv3d, F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.layer_norm, F.group_norm),
    *(torch.conv1d, torch.conv2d, torch.conv3d, torch.max_pool2d, F.dropout, F.pad, F.interpolate),
}
_RANDOM = ("rand", "bernoulli", "normal", "poisson", "multinomial", "dropout", "rrelu", "gumbel", "uniform")


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody watches or changes the calls of this module or of its parameters; taps do not count."""
    around = module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(around) or "parametrizations" in module._modules or len(watches(module)) < len(module._forward_hooks)


def is_batch_norm(module: Any) -> bool:
    """Whether the module computes statistics over the batch now."""
    statistics = isinstance(module, (batchnorm._BatchNorm, instancenorm._InstanceNorm))
    return statistics and (module.training or not module.track_running_stats)


def is_random(target: Any) -> bool:
    """Whether an operation draws random numbers, so that equal inputs give other results at each step."""
    if isinstance(target, nn.Module):
        return target.training and isinstance(target, (dropout._DropoutNd, nn.RReLU))
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return any(word in name for word in _RANDOM)


def keeps_format(target: Any) -> bool:
    """Whether an operation works in any memory format of its arguments, and is known to."""
    return target in _MAPS or target in _FOLDS or target in (torch.flatten, "flatten", "reshape", torch.reshape)


def in_place(target: Any) -> bool:
    """Whether an operation writes into its argument."""
    if isinstance(target, str):
        return target.endswith("_") and not target.endswith("__")
    name = getattr(target, "__name__", "")
    return getattr(target, "__module__", "") == "_operator" and name.startswith("i") and hasattr(operator, name[1:])


def of_module(module: nn.Module, value: Any) -> str:
    """How to run a leaf module on a step like ``value``."""
    if not isinstance(value, Tensor) or has_hooks(module):
        return "step"
    if isinstance(module, nn.Flatten):
        return "fold" if module.start_dim % max(value.dim(), 1) >= 1 else "step"
    if isinstance(module, (batchnorm._BatchNorm, instancenorm._InstanceNorm)):
        return "fold"
    listed = isinstance(module, _FOLDABLE)
    elementwise = type(module).__module__ == activation.__name__ and not isinstance(module, _NOT_BATCHWISE)
    return "fold" if value.dim() > 1 and (listed or elementwise) else "step"


def of_function(target: Any, args: Any, kwargs: dict[str, Any], steps: list[Tensor]) -> str:
    """How to run a function or method whose time-varying arguments have steps like ``steps``."""
    axes = {step.dim() for step in steps}
    if len(axes) != 1:
        return "step"
    constants = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and not any(a is s for s in steps)]
    if target in _MAPS:
        return "map" if all(c.dim() <= min(axes) for c in constants) else "step"
    first_only = len(steps) == 1 and args and args[0] is steps[0] and min(axes) > 1
    if target in _FOLDS:
        return "fold" if first_only else "step"
    if target in (torch.flatten, "flatten"):
        start = args[1] if len(args) > 1 else kwargs.get("start_dim", 0)
        return "fold" if first_only and isinstance(start, int) and start % min(axes) >= 1 else "step"
    if target in ("view", "reshape") and first_only:
        sizes = args[1:] if len(args) > 2 or isinstance(args[1], int) else tuple(args[1])
        return "reshape" if sizes and sizes[0] == steps[0].shape[0] else "step"
    return "step"
