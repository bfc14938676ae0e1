"""Padded recordings in networks: what refuses them, and states of neurons that are not recorded."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from ..core.lengths import alive_or
from ..core.stateful import Stateful
from ..core.tree import named_neurons

__all__ = ["Holder", "batch_norms_that_count", "forget_padded", "refuse_late_steps"]


class Holder:
    """Keeps the states of modules from each sample's end on, in a loop that is not recorded.

    Call it after each step.

    Args:
        modules: their states stay the same.
        ends: steps of each sample, [B].
    """

    def __init__(self, modules: Iterable[Any], ends: Tensor) -> None:
        self.modules: list[Stateful] = list(modules)
        self.ends = ends
        self.before: dict[Stateful, Any] = {}

    def __call__(self, t: int) -> None:
        alive = self.ends > t
        for module in self.modules:
            axis, before, now = module.batch_axis, self.before.get(module), module._hidden
            if before is not None and now is not None and axis is not None:
                pairs = zip(now, before, strict=True)
                module._hidden = module.State(*(alive_or(alive, a, b, axis) for a, b in pairs))
            self.before[module] = module._hidden


def forget_padded(nets: Iterable[nn.Module]) -> None:
    """Forget states without an axis of the samples after a run of padded recordings."""
    for net in nets:
        for module in net.modules():
            if isinstance(module, Stateful) and module.batch_axis is None:
                module.forget_padded()


def batch_norms_that_count(
    net: nn.Module, *, training: bool = False
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the batch norms whose output depends on the other samples, with their paths.

    Args:
        net: the network.
        training: whether it will be in training mode. Default: the mode that each module is in.
    """
    for path, module in net.named_modules():
        counts = training or module.training or not getattr(module, "track_running_stats", True)
        if counts and isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield path, module


def refuse_late_steps(net: nn.Module, *, training: bool = False) -> None:
    """Refuse layers to which what follows the end of a recording matters.

    A batch norm in training would take its statistics from there, too.

    Args:
        net: the network.
        training: whether it will be in training mode. Default: the mode that each module is in.

    Raises:
        ValueError: the network holds such a batch norm, or a neuron that reads later steps.
    """
    for path, module in batch_norms_that_count(net, training=training):
        raise ValueError(
            f"{path}: {type(module).__name__} in training would take its statistics from the "
            "steps after the end of a recording, too; write net.eval(), nn.LayerNorm or "
            "nn.GroupNorm, or run recordings of equal length together"
        )
    for path, neuron in named_neurons(net):
        if not neuron.causal:
            raise ValueError(
                f"{path}: {type(neuron).__name__} reads later steps, also those after the end of a "
                "recording; write SlidingPSN, or run recordings of equal length together"
            )
