"""Images as the network takes them, and weights as an image."""

import math
from typing import Any

import torch
from torch import Tensor

from ...core import checks

__all__ = ["flat", "grid"]


def flat(x: Any, inputs: int, device: torch.device) -> Tensor:
    """Images as [n, inputs].

    Raises:
        TypeError: no floating-point tensor.
        ValueError: another number of pixels, no image, or values outside [0, 1].

    >>> flat(torch.zeros(2, 1, 4, 4), 16, torch.device("cpu")).shape
    torch.Size([2, 16])
    """
    checks.floating(x, "x")
    if x.dim() < 2 or not len(x) or x[0].numel() != inputs:
        raise ValueError(
            f"x must be images of {inputs} pixels, [n, ...], got shape {tuple(x.shape)}; write "
            f"inputs={x[0].numel() if x.dim() > 1 and len(x) else inputs} when you build the "
            "network, or x.unsqueeze(0)"
        )
    checks.in_range(
        "x",
        x,
        0.0,
        1.0,
        why="a pixel is a share of rate_max: divide by 255, or by the largest value",
    )
    return x.reshape(len(x), -1).to(device)


def grid(rows: Tensor, shape: tuple[int, int] | None = None) -> Tensor:
    """Rows of weights side by side as one image, in a square as far as they fill it.

    Args:
        rows: [N, pixels].
        shape: height and width of a row as an image. Default: a square.

    Raises:
        ValueError: the pixels do not make an image of that shape.

    >>> grid(torch.arange(12.0).reshape(3, 4))
    tensor([[ 0.,  1.,  4.,  5.],
            [ 2.,  3.,  6.,  7.],
            [ 8.,  9.,  0.,  0.],
            [10., 11.,  0.,  0.]])
    """
    number, pixels = rows.shape
    side = math.isqrt(pixels)
    height, width = (side, pixels // max(side, 1)) if shape is None else shape
    if height * width != pixels:
        raise ValueError(
            f"{pixels} pixels make no image of {height} x {width}; write shape=(height, width)"
        )
    across = math.ceil(math.sqrt(number))
    down = math.ceil(number / across)
    padded = torch.cat([rows, rows.new_zeros(down * across - number, pixels)])
    return (
        padded.reshape(down, across, height, width)
        .transpose(1, 2)
        .reshape(down * height, across * width)
    )
