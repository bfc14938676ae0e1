"""From a NIR node to its layer: one row for each type of node that is no neuron."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..layers.delay import SynapticDelay
from .metadata import LONGEST
from .modules import Scale
from .node import Node, number
from .plain_form import original_form

__all__ = ["delay_module", "layer_module"]


def layer_module(node: Node, dtype: torch.dtype) -> nn.Module:
    """The torch module of a node without memory."""
    return _READ[node.kind](node, dtype)


def _filled(module: nn.Module, dtype: torch.dtype, **values: np.ndarray) -> nn.Module:
    module = module.to(dtype)
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name).copy_(torch.from_numpy(value))
    return module


def _read_linear(node: Node, dtype: torch.dtype) -> nn.Module:
    weight = node.array("weight")
    if weight.ndim != 2:
        raise node.fail(f"weight must be [out, in], got shape {weight.shape}")
    values = {"weight": weight}
    if node.kind == "Affine":
        values["bias"] = node.array("bias")
        if values["bias"].shape != weight.shape[:1]:
            raise node.fail(f"bias must have shape {weight.shape[:1]}, got {values['bias'].shape}")
    return _filled(
        nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in values), dtype, **values
    )


def _read_conv(node: Node, dtype: torch.dtype) -> nn.Module:
    axes = int(node.kind[4])
    weight, bias = node.array("weight"), node.array("bias")
    if weight.ndim != axes + 2 or bias.shape != weight.shape[:1]:
        raise node.fail(
            f"weight must have {axes + 2} axes, [out, in, ...], and bias [out], got "
            f"{weight.shape} and {bias.shape}",
        )
    settings = {
        "stride": _sizes(node, "stride", axes, 1),
        "padding": _padding(node, axes),
        "dilation": _sizes(node, "dilation", axes, 1),
        "groups": _sizes(node, "groups", 1, 1)[0],
    }
    weight, settings = original_form(weight, settings, node.metadata)
    biased = bool(node.metadata.get("bias", True)) or bool(bias.any())
    cls = nn.Conv1d if axes == 1 else nn.Conv2d
    channels = weight.shape[1] * settings["groups"]
    try:
        module = cls(channels, weight.shape[0], weight.shape[2:], bias=biased, **settings)
    except (ValueError, TypeError) as error:
        raise node.fail(f"torch refuses its settings {settings}: {error}") from error
    return _filled(module, dtype, weight=weight, **({"bias": bias} if biased else {}))


def _sizes(node: Node, key: str, axes: int, least: int) -> tuple[int, ...]:
    """A setting as one whole number for each axis."""
    values = np.atleast_1d(np.asarray(node.fields[key]))
    good = values.ndim == 1 and len(values) in (1, axes) and values.dtype.kind in "iuf"
    if not good or not ((values >= least) & (values == np.floor(values)) & (values < 2**31)).all():
        shown = node.fields[key]
        raise node.fail(
            f"{key} must be whole numbers of {least} or more, one for each axis, got {shown!r}",
        )
    return tuple(int(value) for value in np.broadcast_to(values, axes))


def _padding(node: Node, axes: int) -> Any:
    """The padding of a convolution: a number for each axis, "same" or "valid"."""
    value = number(node.fields["padding"])
    if not isinstance(value, str):
        return _sizes(node, "padding", axes, 0)
    if value not in ("same", "valid"):
        raise node.fail(f"padding must be 'same', 'valid' or numbers, got {value!r}")
    return value


def _read_pool(node: Node, dtype: torch.dtype) -> nn.Module:
    size = _sizes(node, "kernel_size", 2, 1)
    stride = _sizes(node, "stride", 2, 1)
    padding = _sizes(node, "padding", 2, 0)
    divisor = 1 if node.kind == "SumPool2d" else None
    return nn.AvgPool2d(
        (size[0], size[1]),
        (stride[0], stride[1]),
        (padding[0], padding[1]),
        divisor_override=divisor,
    )


def _read_flatten(node: Node, dtype: torch.dtype) -> nn.Module:
    start, end = (_sizes(node, key, 1, -(2**31))[0] for key in ("start_dim", "end_dim"))
    if node.shape is not None and not any(
        node.shape
    ):  # as Sinabs writes it: no shape, and the batch counts
        return nn.Flatten(start, end)
    return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)


def _read_scale(node: Node, dtype: torch.dtype) -> nn.Module:
    factor = torch.from_numpy(node.array("scale")).to(dtype)
    return Scale(factor, learn=bool(node.metadata.get("learn", True)))


def delay_module(node: Node, dt: float, dtype: torch.dtype) -> nn.Module:
    """The module of a delay, in steps of ``dt``."""
    delay = node.array("delay")
    record = node.metadata
    if not delay.size:
        raise node.fail("its delay is empty; write one for each element")
    steps = delay / dt
    if steps.max() > LONGEST:
        raise node.fail(
            f"a delay takes {steps.max():.4g} steps of dt={dt:g}; at most {LONGEST} are possible",
        )
    if "steps" not in record and (np.abs(steps - np.round(steps)) > 1e-4).any():
        worst = steps.flat[int(np.abs(steps - np.round(steps)).argmax())]
        raise node.fail(f"the delay is {worst:.4g} steps of dt={dt:g}; pass a dt that divides it")
    steps = steps if "steps" in record else np.round(steps)
    if (steps < 0).any():
        raise node.fail(f"a delay is negative, {delay.min():g}; nothing arrives before it was sent")
    per_channel = steps.reshape(len(steps), -1) if steps.ndim else steps.reshape(1, 1)
    if (per_channel != per_channel[:, :1]).any():
        raise node.fail("the elements of a channel have different delays, which no layer here has")
    values = per_channel[:, 0]
    uniform = bool((values == values[0]).all())
    recorded = np.asarray(record.get("steps", np.nan), np.float64)
    if recorded.shape in ((), values.shape) and np.allclose(recorded, values, rtol=1e-9):
        values, uniform = np.broadcast_to(recorded, values.shape), recorded.ndim == 0
    longest = max(1, int(np.ceil(values.max())), int(record.get("longest", 1)))
    learn = bool(record.get("learn", False))
    module = SynapticDelay(
        longest, channels=None if uniform else len(values), learn_delay=learn
    ).to(dtype)
    with torch.no_grad():
        module.delay.copy_(torch.from_numpy(np.array(values[0] if uniform else values)))
    return module


_READ: dict[str, Callable[[Node, torch.dtype], nn.Module]] = {
    "Affine": _read_linear,
    "Linear": _read_linear,
    "Conv1d": _read_conv,
    "Conv2d": _read_conv,
    "AvgPool2d": _read_pool,
    "SumPool2d": _read_pool,
    "Flatten": _read_flatten,
    "Scale": _read_scale,
}
