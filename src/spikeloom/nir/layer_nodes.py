"""From a layer to its NIR node: one row for each type of module."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..layers.delay import SynapticDelay
from ..layers.spike_linear import SpikeLinear
from .modules import Scale
from .node import Node
from .plain_form import plain_form

__all__ = ["LAYERS", "flatten_node", "layer_node", "scale_node"]

Shape = tuple[int, ...]


def layer_node(path: str, module: nn.Module, shape: Shape, dt: float = 1.0) -> Node:
    """The node of a layer.

    Args:
        path: of the layer in its network, for messages.
        module: the layer.
        shape: of its input, without the batch.
        dt: time step, the unit of delays.

    Raises:
        ValueError: NIR has no node for the layer, or not for how it is set.
    """
    row = LAYERS.get(type(module))
    if row is None:
        raise _refusal(path, module)
    node = row(path, module, shape)
    node.shape = shape
    if "delay" in node.fields:
        node.fields["delay"] = node.fields["delay"] * dt
    return node


def flatten_node(shape: Shape, start: int, end: int) -> Node:
    """Merge the axes ``start`` to ``end`` of a sample; NIR counts without the batch."""
    return Node(
        "Flatten",
        {"start_dim": start, "end_dim": -1 if end == len(shape) - 1 else end},
        shape=shape,
    )


def scale_node(factor: Any, shape: Shape) -> Node:
    """Multiply each element by its factor."""
    numbers = (
        factor.detach().cpu().numpy()
        if isinstance(factor, torch.Tensor)
        else np.asarray(factor, np.float64)
    )
    scale = np.ascontiguousarray(np.broadcast_to(numbers, shape))
    return Node("Scale", {"scale": scale}, {"learn": isinstance(factor, nn.Parameter)}, shape)


def _numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()


def _refuse(path: str, module: nn.Module, what: str, instead: str) -> ValueError:
    return ValueError(f"{type(module).__name__} {path!r}: {what} has no NIR node; {instead}")


def _refusal(path: str, module: nn.Module) -> ValueError:
    kind = type(module).__name__
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        hint = "fold it into the layer before it: torch.nn.utils.fusion.fuse_conv_bn_eval(conv, bn)"
    elif "Pool" in kind:
        hint = "use nn.AvgPool2d with explicit sizes"
    elif type(module).__module__ == nn.ReLU.__module__:
        hint = "let a neuron stand in its place, e.g. snn.IF"
    else:
        hint = f"NIR knows {', '.join(cls.__name__ for cls in LAYERS)}"
    return ValueError(f"{kind} has no NIR node; {hint} (layer {path!r})")


def _linear(path: str, module: nn.Linear, shape: Shape) -> Node:
    if len(shape) != 1:
        raise _refuse(
            path,
            module,
            f"a linear layer on {len(shape)} axes, {shape},",
            "flatten its input first",
        )
    if module.bias is None:
        return Node("Linear", {"weight": _numpy(module.weight)})
    return Node("Affine", {"weight": _numpy(module.weight), "bias": _numpy(module.bias)})


def _conv(path: str, module: Any, shape: Shape) -> Node:
    if module.padding_mode != "zeros":
        raise _refuse(
            path, module, f"padding_mode={module.padding_mode!r}", "use padding_mode='zeros'"
        )
    axes = module.weight.dim() - 2
    if len(shape) != axes + 1:
        raise _refuse(
            path, module, f"an input of shape {shape}", f"one sample needs {axes + 1} axes"
        )
    given = {key: getattr(module, key) for key in ("stride", "padding", "dilation", "groups")}
    weight, settings, record = plain_form(_numpy(module.weight), given)
    if settings["padding"] != "same" and len(set(weight.shape[2:])) > 1:
        warnings.warn(
            f"{type(module).__name__} {path!r} has a kernel {tuple(module.kernel_size)}, which "
            "zeros on both sides do "
            "not make square: nir.read refuses the file, unless it is called with type_check=False",
            stacklevel=2,
        )
    bias = np.zeros(len(weight), weight.dtype) if module.bias is None else _numpy(module.bias)
    if axes == 1:
        settings = {key: v[0] if isinstance(v, tuple) else v for key, v in settings.items()}
    if module.bias is None:
        record["bias"] = False  # the field is mandatory in NIR
    input_shape = shape[1] if axes == 1 else tuple(shape[1:])
    fields = {"input_shape": input_shape, "weight": weight, **settings, "bias": bias}
    return Node(f"Conv{axes}d", fields, record)


def _pool(path: str, module: nn.AvgPool2d, shape: Shape) -> Node:
    if module.ceil_mode:
        raise _refuse(path, module, "ceil_mode=True", "use ceil_mode=False")
    sizes = {
        k: np.broadcast_to(getattr(module, k), 2).copy()
        for k in ("kernel_size", "stride", "padding")
    }
    if module.divisor_override == 1:
        return Node("SumPool2d", sizes)
    if module.divisor_override is not None or (
        sizes["padding"].any() and not module.count_include_pad
    ):
        raise _refuse(
            path,
            module,
            "a divisor other than the size of the kernel",
            "use the defaults of nn.AvgPool2d",
        )
    return Node("AvgPool2d", sizes)


def _flatten(path: str, module: nn.Flatten, shape: Shape) -> Node:
    axes = len(shape) + 1
    start, end = module.start_dim % axes, module.end_dim % axes
    if start == 0:
        raise _refuse(path, module, "flattening the batch", "write nn.Flatten(start_dim=1)")
    return flatten_node(shape, start - 1, end - 1)


def _scale(path: str, module: Scale, shape: Shape) -> Node:
    return scale_node(module.factor, shape)


def _delay(path: str, module: SynapticDelay, shape: Shape) -> Node:
    if module.kernel != "linear":
        raise _refuse(path, module, f"kernel={module.kernel!r}", "use kernel='linear'")
    steps = module.delay.detach().cpu().double().clamp(0, module.max_delay).numpy()
    per_channel = steps.reshape(steps.shape + (1,) * (len(shape) - 1)) if steps.ndim else steps
    record = {"steps": steps if steps.ndim else float(steps), "longest": module.max_delay}
    delay = np.ascontiguousarray(np.broadcast_to(per_channel, shape))
    return Node(
        "Delay", {"delay": delay}, {**record, "learn": isinstance(module.delay, nn.Parameter)}
    )


LAYERS: dict[type[nn.Module], Callable[..., Node]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.AvgPool2d: _pool,
    nn.Flatten: _flatten,
    Scale: _scale,
    SynapticDelay: _delay,
    SpikeLinear: _linear,
}
