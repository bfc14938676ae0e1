"""The arguments of a recorded convolution."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Convolution", "input_of", "of", "pair"]

_ARGUMENTS = ("weight", "bias", "stride", "padding", "dilation", "groups")


class Convolution(NamedTuple):
    """The arguments of ``torch.conv2d`` but for its input."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    numbers: tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


def of(layer: Any) -> Convolution | None:
    """Return the arguments of a layer; None if it is no convolution, or one of computed weights."""
    if layer.function is not torch.conv2d or layer.wrap is not None or len(layer.slots) > 1:
        return None
    named = dict(zip(_ARGUMENTS, layer.args[1:], strict=False)) | layer.kwargs
    weight, bias = named["weight"], named.get("bias")
    parameters = [weight] if bias is None else [weight, bias]
    if any(type(v) is not nn.Parameter for v in parameters):
        return None
    if isinstance(named.get("padding"), str):
        return None
    numbers = (
        pair(named.get("stride", 1)),
        pair(named.get("padding", 0)),
        pair(named.get("dilation", 1)),
        named.get("groups", 1),
    )
    return Convolution(weight, bias, numbers)


def pair(value: Any) -> list[int]:
    """Return the vertical and the horizontal number."""
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * 2 if len(numbers) == 1 else numbers


def input_of(execution: Any, layer: Any, span: range) -> Tensor:
    """Return what a convolution reads, [T, B, C, H, W], or [B, C, H, W] if constant in time."""
    if not layer.slots:
        return layer.args[0]
    return execution.along(layer.slots[0], layer.occurrences[span.start : span.stop])[0]
