"""Shapes and layouts of a convolution: memory formats, and the order in which the loops read a kernel."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core.allocator import in_large_pages

__all__ = [
    "Geometry",
    "channels_last",
    "format_of",
    "geometry_of",
    "images_of",
    "map_like",
    "maps_of",
    "patches_of",
    "rows_of",
    "size_of",
    "weight_of",
]


class Geometry(NamedTuple):
    """Whole numbers, as the loops read them."""

    channels: int
    height: int
    width: int
    maps: int
    rows: int
    cols: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    dh: int
    dw: int
    groups: int
    last: int  # whether channels lie last in memory


def channels_last(x: Tensor) -> bool:
    """Whether channels lie last in memory, and not also first."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def rows_of(x: Tensor) -> Tensor:
    """One image a row, its pixels in the order of memory."""
    return (x.permute(0, 2, 3, 1) if channels_last(x) else x.contiguous()).flatten(1)


def size_of(x: Tensor, weight: Tensor, numbers: list[int]) -> tuple[int, int]:
    sh, sw, ph, pw, dh, dw, _ = numbers
    rows = (x.shape[2] + 2 * ph - dh * (weight.shape[2] - 1) - 1) // sh + 1
    return rows, (x.shape[3] + 2 * pw - dw * (weight.shape[3] - 1) - 1) // sw + 1


def geometry_of(x: Tensor, weight: Tensor, numbers: list[int]) -> Geometry:
    size = size_of(x, weight, numbers)
    return Geometry._make((*x.shape[1:], len(weight), *size, *weight.shape[2:], *numbers, int(channels_last(x))))


def patches_of(weight: Tensor, groups: int) -> Tensor:
    """The weight as the loops read it: [C, kh, reversed kw, O / groups]."""
    maps, per, kh, kw = weight.shape
    split = weight.detach().view(groups, maps // groups, per, kh, kw)
    return split.permute(0, 2, 3, 4, 1).flip(3).reshape(groups * per, kh, kw, maps // groups).contiguous()


def weight_of(patches: Tensor, groups: int) -> Tensor:
    """The inverse of `patches_of`."""
    channels, kh, kw, maps = patches.shape
    split = patches.view(groups, channels // groups, kh, kw, maps).flip(3)
    return split.permute(0, 4, 1, 2, 3).reshape(groups * maps, channels // groups, kh, kw)


def format_of(last: int) -> torch.memory_format:
    return torch.channels_last if last else torch.contiguous_format


def map_like(x: Tensor, sized: Geometry) -> Tensor:
    shape = x.shape[0], sized.maps, sized.rows, sized.cols
    made = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format_of(sized.last))
    return in_large_pages(made)


def maps_of(maps: Tensor, last: int) -> Any:
    """[R, O, OH * OW], or [R, OH * OW, O] if channels lie last: an array in the order of memory."""
    memory = maps.detach().permute(0, 2, 3, 1) if last else maps.detach()
    return (memory.flatten(1, 2) if last else memory.flatten(2)).numpy()


def images_of(rows: Tensor, shape: list[int], last: bool) -> Tensor:
    _, channels, height, width = shape
    images = rows.view(-1, height, width, channels) if last else rows.view(-1, channels, height, width)
    return images.permute(0, 3, 1, 2) if last else images
