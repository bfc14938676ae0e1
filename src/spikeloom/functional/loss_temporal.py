"""Losses of spike times, and differentiable spike times.

A spike time has no derivative. Here, as in snnTorch, the gradient with respect to a spike is minus
the gradient with respect to its time. Time is in steps from 0. A silent output counts as firing at
the last step, T - 1.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..core.checks import choice, finite
from ..core.lengths import by_length
from ..core.numbers import flag, real, tensor
from .loss_base import LossFunctions, check_labels, check_outputs, one_hot, weighted
from .spike_times import FirstSpike, MultiSpike, Tolerance

__all__ = ["SpikeTime", "ce_temporal_loss", "mse_temporal_loss"]


class SpikeTime(nn.Module):
    """Spike times of the outputs, and their target times.

    Args:
        target_is_time: whether targets are times in steps, [B, N] (with ``multi_spike`` [F, B, N]),
            not labels [B].
        on_target: target time of the class; with ``multi_spike`` a sequence of F times.
        off_target: target time of the other classes. Negative times count from the end: -1 is the
            last step.
        tolerance: a spike nearer to its target than this many steps counts as on time.
        multi_spike: the first F spikes instead of the first one.

    Returns:
        Module; ``(spk_out [T, B, N], targets)`` gives times and target times, [B, N] or [F, B, N].

    Raises:
        TypeError: ``on_target`` and ``off_target`` are not sequences with ``multi_spike``, or are
            sequences without it.
        ValueError: they differ in length, targets have another shape, or a value is NaN or
            infinite.

    Two differences from snnTorch: later spikes are found for each neuron separately, and targets
    are not modified.

    >>> spk = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]], [[0.0, 0.0]]])
    >>> SpikeTime()(spk, torch.tensor([1]))
    (tensor([[1., 0.]]), tensor([[2., 0.]]))
    >>> SpikeTime(multi_spike=True, on_target=[0, 1], off_target=[1, 2])(spk, torch.tensor([1]))[0]
    tensor([[[1., 0.]],
    <BLANKLINE>
            [[2., 1.]]])
    """

    FirstSpike = FirstSpike
    MultiSpike = MultiSpike
    Tolerance = Tolerance

    def __init__(
        self,
        target_is_time: bool = False,
        on_target: float | Sequence[float] = 0,
        off_target: float | Sequence[float] = -1,
        tolerance: float = 0,
        multi_spike: bool = False,
    ) -> None:
        super().__init__()
        tolerance = real("tolerance", tolerance, 0.0, example=0.0)
        self.target_is_time = flag("target_is_time", target_is_time)
        self.tolerance = tolerance
        self.multi_spike = flag("multi_spike", multi_spike)
        self.on_target = on_target
        self.off_target = off_target
        if not target_is_time:
            self._wanted = _pairs(on_target, off_target, multi_spike)

    def forward(self, spk_out: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        check_outputs(spk_out, "SpikeTime")
        if self.target_is_time:
            wanted = self._times(spk_out, targets)
        else:
            labels = check_labels(targets, spk_out.shape[1:2], spk_out.shape[-1], "SpikeTime")
            wanted = self.labels_to_spike_times(labels, spk_out.shape[-1])
        wanted = torch.where(wanted < 0, wanted + len(spk_out), wanted)
        device = spk_out.device  # every argument is given: torch.compile counts them
        time = (
            MultiSpike.apply(spk_out, len(wanted), device)
            if self.multi_spike
            else FirstSpike.apply(spk_out, device)
        )
        if self.tolerance:
            time = Tolerance.apply(time, wanted, self.tolerance)
        return time, wanted

    def labels_to_spike_times(self, targets: Tensor, num_outputs: int) -> Tensor:
        """Target times of class labels: of the first spike, or with ``multi_spike`` of the first F.

        Args:
            targets: class labels, [B] of torch.int64.
            num_outputs: N.

        Returns:
            [B, N], with ``multi_spike`` [F, B, N], in steps; negative ones still count from the
            end.

        >>> SpikeTime(on_target=3).labels_to_spike_times(torch.tensor([0]), 2)
        tensor([[ 3., -1.]])
        """
        code = self.label_to_multi_spike if self.multi_spike else self.label_to_single_spike
        return code(targets, num_outputs)

    def label_to_single_spike(self, targets: Tensor, num_outputs: int) -> Tensor:
        """Target time of the first spike, [B, N]; arguments as for `labels_to_spike_times`.

        >>> SpikeTime(on_target=3).label_to_single_spike(torch.tensor([1]), 2)
        tensor([[-1.,  3.]])
        """
        return self.label_to_multi_spike(targets, num_outputs)[0]

    def label_to_multi_spike(self, targets: Tensor, num_outputs: int) -> Tensor:
        """Target times of the first F spikes, [F, B, N]; arguments as for `labels_to_spike_times`.

        >>> time = SpikeTime(multi_spike=True, on_target=[0, 1], off_target=[4, 5])
        >>> time.label_to_multi_spike(torch.tensor([1]), 2).squeeze(1)
        tensor([[4., 0.],
                [5., 1.]])
        """
        hot = one_hot(targets, num_outputs)
        return torch.stack([torch.where(hot, on, off) for on, off in self._wanted])

    def _times(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        axes = 3 if self.multi_spike else 2
        tensor("targets", targets)
        if targets.is_complex():
            raise TypeError(
                f"target_is_time=True expects real times, got {targets.dtype}; write targets.real"
            )
        if targets.dim() != axes or targets.shape[-2:] != spk_out.shape[1:]:
            raise ValueError(
                f"target_is_time=True expects times {'[F, B, N]' if axes == 3 else '[B, N]'} for "
                f"outputs {tuple(spk_out.shape)}, got {tuple(targets.shape)}; write "
                "target_is_time=False for labels"
            )
        times = targets.to(spk_out.dtype)
        if not torch.compiler.is_compiling():  # a check of values breaks the graph
            finite(times, "SpikeTime: the target times")
        return times


def _pairs(on_target: Any, off_target: Any, multi_spike: bool) -> list[tuple[float, float]]:
    """Target times of the class and of the others, for each spike."""
    times = []
    for name, value in (("on_target", on_target), ("off_target", off_target)):
        try:
            listed = torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{name} must be a time or a sequence of times, got {value!r}; write {name}=0"
            ) from error
        tensor(name, listed)
        if not bool(listed.isfinite().all()):
            raise ValueError(
                f"{name} must be finite, got {value!r}; write {name}=0, or -1 for the last step"
            )
        if listed.dim() != multi_spike:
            rule = (
                f"a sequence of times, e.g. {name}=[0, 5]"
                if multi_spike
                else "one time, or multi_spike=True"
            )
            raise TypeError(
                f"multi_spike={multi_spike} does not fit {name}={value!r}; write {rule}"
            )
        times.append(listed.reshape(-1).tolist())
    on, off = times
    if len(on) != len(off):
        raise ValueError(
            f"on_target and off_target must have the same length, got {len(on)} and {len(off)}; "
            "write one time for every spike in both"
        )
    return list(zip(on, off, strict=True))


class mse_temporal_loss(LossFunctions):
    """Squared error of spike times, in units of the whole duration: ``MSE(time / T, target / T)``.

    Args:
        target_is_time: whether targets are times in steps, [B, N] (with ``multi_spike`` [F, B, N]),
            not labels [B].
        on_target: target time of the class; with ``multi_spike`` a sequence of F times.
        off_target: target time of the other classes. Negative times count from the end: -1 is the
            last step.
        tolerance: a spike nearer to its target than this many steps counts as on time.
        multi_spike: the first F spikes instead of the first one.
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class, applied to all errors of a sample of that class; needs
            labels.

    Returns:
        Callable; its result has shape (), or [B, N] ([F, B, N]) for ``reduction="none"``.

    Raises:
        ValueError: ``weight`` together with ``target_is_time``.

    In snnTorch 1.0.0 a negative ``off_target`` is read as 0, unless it is above ``on_target``.

    >>> spk = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
    >>> mse_temporal_loss()(spk, torch.tensor([1]))
    tensor(0.)
    """

    def __init__(
        self,
        target_is_time: bool = False,
        on_target: float | Sequence[float] = 0,
        off_target: float | Sequence[float] = -1,
        tolerance: float = 0,
        multi_spike: bool = False,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction, weight)
        if weight is not None and flag("target_is_time", target_is_time):
            raise ValueError(
                "weight needs class labels as targets, got target_is_time=True; write weight=None"
            )
        self.spk_time_fn = SpikeTime(target_is_time, on_target, off_target, tolerance, multi_spike)

    def __call__(self, spk_rec: Tensor, targets: Tensor, lengths: Any = None) -> Tensor:
        return super().__call__(spk_rec, targets, lengths)

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        time, wanted = self.spk_time_fn(spk_out, targets)
        loss = (time / len(spk_out) - wanted / len(spk_out)) ** 2
        if self.weight is None:
            return loss
        return weighted(loss, targets.long().expand(*loss.shape[:-2], -1), self.weight)


class ce_temporal_loss(LossFunctions):
    """Cross entropy of first spike times: trains the class to fire first.

    Args:
        inverse: "negate" takes minus the time as logit, "reciprocal" ``1 / (time + 1)``.
        reduction: "mean", "sum" or "none".
        weight: [C], factor of each class; here "mean" divides by the sum of the weights, as in
            torch.

    Returns:
        Callable; its result has shape (), or [B] for ``reduction="none"``.

    Raises:
        ValueError: another ``inverse``.

    >>> spk = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
    >>> ce_temporal_loss()(spk, torch.tensor([1]))
    tensor(0.3133)
    """

    def __init__(
        self, inverse: str = "negate", reduction: str = "mean", weight: Tensor | None = None
    ) -> None:
        super().__init__(reduction, weight)
        self.inverse = choice("inverse", inverse, ["negate", "reciprocal"])
        self.spk_time_fn = SpikeTime()

    def __call__(self, spk_rec: Tensor, targets: Tensor, lengths: Any = None) -> Tensor:
        return super().__call__(spk_rec, targets, lengths)

    def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        return self._cross_entropy(self._logits(spk_out, targets), targets)

    def _compute_by_length(self, spk_out: Tensor, targets: Tensor, ends: Tensor) -> Tensor:
        return self._cross_entropy(by_length(self._logits, spk_out, targets, ends), targets)

    def _logits(self, spk_out: Tensor, targets: Tensor) -> Tensor:
        time, _ = self.spk_time_fn(spk_out, targets)
        return -time if self.inverse == "negate" else 1 / (time + 1)

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = self.weight
        if weight is not None:
            weight = torch.as_tensor(weight, dtype=logits.dtype, device=logits.device).detach()
            if len(weight) != logits.shape[-1]:
                raise ValueError(
                    f"weight must hold one number per class, got {len(weight)} for "
                    f"{logits.shape[-1]} outputs; write torch.ones({logits.shape[-1]})"
                )
        return cross_entropy(logits, targets.long(), weight, reduction=self.reduction)

    def _reduce(self, loss: Tensor) -> Tensor:
        return loss
