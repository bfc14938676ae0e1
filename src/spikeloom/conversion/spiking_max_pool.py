"""Maximum pooling of spikes: over time, the maximum of rates."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.stateful import Stateful

__all__ = ["RULES", "SpikingMaxPool"]

RULES = ("max", "gate", "avg")


class SpikingMaxPool(Stateful):
    r"""Max pooling of the sums of the input over time.

    .. math:: Y[t] = \max_i \sum_{s \le t} X_i[s] - \max_i \sum_{s < t} X_i[s]

    with ``"max"``: the sum of the outputs is at every step the maximum of the sums of the inputs,
    and spikes of one size give spikes of that size. ``"gate"`` passes the spikes of the input with
    the largest sum, as Rueckauer et al. do, and loses spikes of other inputs that later have the
    largest sum. ``"avg"`` passes the mean, a different function.

    Args:
        pool: the windows, an ``nn.MaxPool1d`` or ``2d``, or an adaptive one.
        rule: ``"max"``, ``"gate"`` or ``"avg"``.

    Raises:
        ValueError: an unknown rule, or ``"avg"`` for windows that average pooling does not support.

    Source: Rueckauer et al. (2017), Front. Neurosci. 11:682, for the gate.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).reshape(3, 1, 1, 2)  # [T, B, C, L]
    >>> pool = SpikingMaxPool(nn.MaxPool1d(2)); pool.mode = "sequence"
    >>> pool(x).flatten()
    tensor([1., 0., 1.])
    """

    class State(NamedTuple):
        total: Tensor  # sum of the input so far, [B, ...]

    modes: ClassVar[tuple[str, ...]] = ("step", "sequence")
    batch_axis: ClassVar[int | None] = 0

    def __init__(self, pool: Any, rule: str = "max") -> None:
        super().__init__()
        self.pool = pool
        self.rule = checks.choice("rule of max pooling", rule, RULES)
        self.average = _average(pool) if rule == "avg" else None

    def advance(
        self, input_: Tensor, *, sequence: bool, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """Pools a step or a sequence; see `Stateful.advance`."""
        steps = 1 if not sequence else num_steps
        x = input_ if steps is None else input_.expand(steps, *input_.shape)
        if self.average is not None:
            self._hidden = self.State(torch.zeros_like(x[0]))
            out = self.average(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            return (out if sequence else out[0]), self._hidden
        # Step by step, sums of equal numbers of spikes are bit-equal for any division into calls.
        total = torch.zeros_like(x[0]) if self._hidden is None else self.hidden.total
        out = []
        before = self.pool(total)
        for x_t in x.unbind(0):
            total = total + x_t
            if self.rule == "gate":
                out.append(self._gated(x_t, total))
                continue
            largest = self.pool(total)
            out.append(largest - before)
            before = largest
        self._hidden = self.State(total)
        return (torch.stack(out) if sequence else out[0]), self._hidden

    def _gated(self, x: Tensor, total: Tensor) -> Tensor:
        before = self.pool.return_indices
        self.pool.return_indices = True
        index = self.pool(total)[1]
        self.pool.return_indices = before
        return x.flatten(2).gather(2, index.flatten(2)).reshape(index.shape)


def _average(pool: Any) -> nn.Module:
    """The average over the windows of a max pooling."""
    adaptive = {
        nn.AdaptiveMaxPool1d: nn.AdaptiveAvgPool1d,
        nn.AdaptiveMaxPool2d: nn.AdaptiveAvgPool2d,
    }
    if type(pool) in adaptive:
        return adaptive[type(pool)](pool.output_size)
    dilation = pool.dilation if isinstance(pool.dilation, tuple) else (pool.dilation,)
    if any(d != 1 for d in dilation):
        raise ValueError(
            f'{pool} has a dilation, which average pooling does not; write max_pool="max"'
        )
    cls: Any = nn.AvgPool1d if isinstance(pool, nn.MaxPool1d) else nn.AvgPool2d
    return cls(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, count_include_pad=False)
