"""Sums over events of a convolution: each spike adds its patch of the weights to the maps, or collects its gradient."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import compiled
from .entries import Entries
from .geometry import Geometry

__all__ = ["add_maps", "add_patches", "adds"]

ROOM = 2**18  # bytes of maps that are turned at once: they stay in the second cache


def adds(listed: Entries, sized: Geometry) -> int:
    """How many numbers are added."""
    return len(listed.idx) * sized.kh * sized.kw * sized.maps // sized.groups


def _pieces(sized: Geometry, like: Any, start: int, stop: int) -> Iterator[tuple[int, int, Any]]:
    """Few images at a time, with room for their maps, channels last; none is needed where they lie so already."""
    size = sized.rows * sized.cols * sized.maps
    step = max(1, stop - start) if sized.last else max(1, ROOM // (size * like.itemsize))
    room = None if sized.last else np.empty((min(step, stop - start), sized.rows * sized.cols, sized.maps), like.dtype)
    for a in range(start, stop, step):
        b = min(a + step, stop)
        yield a, b, like[a:b] if room is None else room[: b - a]


def add_patches(listed: Entries, sized: Geometry, weights: Any, maps: Any, bias: Any, start: int, stop: int) -> None:
    """Fill the maps ``start`` to ``stop`` with bias and patches."""
    add, turn = compiled.loop("patches"), compiled.loop("turn")
    for a, b, board in _pieces(sized, maps, start, stop):
        board[:] = bias
        add(*listed, sized, board.reshape(b - a, -1), weights, False, a, b)
        if not sized.last:
            turn(board, maps[a:b])


def add_maps(listed: Entries, sized: Geometry, weights: Any, maps: Any, start: int, stop: int) -> None:
    """Add what the gradient of the maps ``start`` to ``stop`` says to that of the weights."""
    add, turn = compiled.loop("patches"), compiled.loop("turn")
    for a, b, board in _pieces(sized, maps, start, stop):
        if not sized.last:
            turn(maps[a:b], board)
        add(*listed, sized, board.reshape(b - a, -1), weights, True, a, b)
