"""Padded recordings in networks: what refuses them, and states of neurons that are not recorded."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ..core.lengths import alive_or
from ..core.stateful import Stateful

__all__ = ["Holder", "refuse_statistics"]


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


def refuse_statistics(net: nn.Module, *, training: bool = False) -> None:
    """Refuse a batch norm that would take statistics of what follows the end of a recording.

    Args:
        net: the network.
        training: whether it will be in training mode. Default: the mode that each module is in.

    Raises:
        ValueError: the network holds one.
    """
    for path, module in net.named_modules():
        counts = isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            training or module.training or not module.track_running_stats
        )
        if counts:
            raise ValueError(
                f"{path}: {type(module).__name__} in training would take its statistics from the "
                "steps after the end of a recording, too; write net.eval(), nn.LayerNorm or "
                "nn.GroupNorm, or run recordings of equal length together"
            )
