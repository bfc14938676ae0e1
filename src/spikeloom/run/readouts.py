"""Neurons whose spikes one linear layer with few outputs alone reads: both run together, a few samples at a time.

That saves the largest tensors of a classifier, the spikes of its last hidden layer and their gradients, and the time
to write and read them (`spikeloom.kernels.readout`). Sizes alone decide, so that a resumed training adds up in the same
order. Nobody may want to see the spikes, or how either layer is called.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ..core import checks, dispatch
from ..core.neuron import Neuron
from ..core.taps import watches
from .pairs import Pairs
from .rules import has_hooks
from .sparse import sparse_call

__all__ = ["Readouts"]

LEAST = 2**22  # multiply-adds of the layer below which both take no longer apart


class Readouts:
    """The neurons of one run that have such a layer behind them.

    Args:
        pairs: of the graph.
        modules: of the network, by path.
    """

    def __init__(self, pairs: Pairs, modules: dict[str, nn.Module]) -> None:
        found = ((path, modules[reader]) for path, reader in pairs.readers.items() if reader in pairs.once)
        self.readers = {path: reader for path, reader in found if type(reader) is nn.Linear}

    def runner(self, path: str, neuron: Neuron, x: Tensor, steps: int | None) -> Any:
        """What runs the neuron at ``path`` and its reader, in the place of `Neuron.final`; None: run them apart.

        Args:
            path: of a neuron that returns its spikes only.
            neuron: the neuron.
            x: its input, [T, B, ..., K], or [B, ..., K] with ``steps``.
            steps: T of a constant input.
        """
        reader = self.readers.get(path)
        if reader is None or neuron._taps or not (_plain(type(neuron)) and _ordinary(reader)):
            return None
        return partial(_together, neuron, reader) if _pays(neuron, reader, x, steps) else None


def _plain(kind: type[Neuron]) -> bool:
    """Whether a neuron's sequences are those of its transition."""
    return all(getattr(kind, name) is getattr(Neuron, name) for name in ("advance", "final", "scan", "_run"))


def _ordinary(reader: nn.Module) -> bool:
    return not (watches(reader) or has_hooks(reader)) and sparse_call(reader) is not reader


def _pays(neuron: Neuron, reader: Any, x: Tensor, steps: int | None) -> bool:
    from ..kernels.events.narrow import OUTPUTS  # loads what it needs on first use, not with the package

    few, work = 0 < reader.out_features <= OUTPUTS, x.numel() * (steps or 1) * reader.out_features
    if not few or work < LEAST or x.dim() < (2 if steps else 3) or x.shape[-1] != reader.in_features:
        return False
    tensors = [x, reader.weight] if reader.bias is None else [x, reader.weight, reader.bias]
    plain = x.is_contiguous() and all(t.is_cpu and t.dtype == x.dtype for t in tensors)
    watched = checks.watched(*tensors) or checks.transformed() or forward_ad._current_level >= 0
    if watched or not plain or torch.is_autocast_enabled("cpu") or dispatch.kept() not in ("", "input"):
        return False
    return neuron.transition.elementwise and dispatch.name_of(neuron.transition, x, x.dtype, steps or 1) == "numba"


def _together(neuron: Neuron, reader: nn.Module, x: Tensor, state: Any, *, num_steps: int | None) -> tuple[Tensor, Any]:
    from ..kernels.readout import read

    y, last = read(neuron.key, x, state, neuron.params(state[0].dtype), num_steps, reader)
    return y, type(state)(*last)
