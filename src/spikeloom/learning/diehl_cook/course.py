"""A training as a walk over images that can stop after any block and go on from its number.

Order and input spikes follow from the seed and from the number of images before, not from what was
drawn before: the weights and that number are all that a checkpoint needs.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Block", "course", "seeds"]


class Block(NamedTuple):
    """Images that were presented one after the other."""

    done: int  # images presented so far, those of this block included
    index: Tensor  # which ones these were, [n]
    counts: Tensor  # spikes of each neuron for each of them, [n, N]


def seeds(seed: int, start: int, number: int) -> Tensor:
    """Seeds of the input spikes of images ``start`` to ``start + number``, int64 >= 0, far apart.

    >>> len(set(seeds(0, 0, 1000).tolist()) & set(seeds(0, 500, 1000).tolist()))
    500
    """
    z = np.arange(start, start + number, dtype=np.uint64) ^ np.uint64(
        (seed * 0xD1342543DE82EF95) & (2**64 - 1)
    )
    for factor in (
        0xFF51AFD7ED558CCD,
        0xC4CEB9FE1A85EC53,
    ):  # finaliser of MurmurHash3, which spreads every bit
        z = (z ^ (z >> np.uint64(33))) * np.uint64(factor)
    return torch.from_numpy(((z ^ (z >> np.uint64(33))) >> np.uint64(1)).astype(np.int64))


def course(
    net: Any,
    x: Tensor,
    *,
    epochs: int,
    batch: int,
    engine: Any,
    chunk: int | None,
    seed: int,
    block: int,
    done: int = 0,
) -> Iterator[Block]:
    """Train on images, block by block.

    Args:
        net: a `DiehlAndCook2015`.
        x: images, [n, inputs].
        epochs: passes over them, each in an order of its own.
        batch: images at once.
        engine: a module with ``show``.
        chunk: steps after which weights change.
        seed: of order and input spikes.
        block: images a block, a multiple of ``batch``.
        done: images presented before; the course goes on after them.
    """
    size = len(x)
    while done < epochs * size:
        epoch, first = divmod(done, size)
        order = torch.randperm(
            size, generator=torch.Generator().manual_seed((seed + 7919 * epoch) % 2**63)
        )
        index = order[first : first + block]
        counts = engine.show(net, x[index], seeds(seed, done, len(index)), True, batch, chunk)
        done += len(index)
        yield Block(done, index, counts)
