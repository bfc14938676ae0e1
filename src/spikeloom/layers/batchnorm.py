"""Batch normalisation of networks that run over time.

In a loop over time every call takes the statistics of one step. With ``snn.run(...,
batch_norm="time")`` they are those of all steps together, which the papers on tdBN and TEBN mean.
"""

from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..core import alone
from ..core.numbers import MOST_UNITS, real, whole
from ..core.stateful import Stateful

__all__ = [
    "BatchNormTT1d",
    "BatchNormTT2d",
    "EachStep",
    "TemporalEffectiveBatchNorm",
    "ThresholdDependentBatchNorm1d",
    "ThresholdDependentBatchNorm2d",
]

Norm = TypeVar("Norm", nn.BatchNorm1d, nn.BatchNorm2d)

_LONGEST = 2**20  # steps; each has a layer or a factor


def BatchNormTT1d(
    input_features: int,
    time_steps: int,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
) -> nn.ModuleList:
    """One ``torch.nn.BatchNorm1d`` without bias for each time step.

    Args:
        input_features: number of features of the input, [B, input_features].
        time_steps: T, the length of the list.
        eps: added to the variance.
        momentum: momentum of the running statistics; None for their plain mean.
        affine: whether each layer has a learned scale.

    Returns:
        T layers; step ``t`` calls ``layers[t](x)``.

    Raises:
        TypeError: ``input_features`` or ``time_steps`` is not a whole number.
        ValueError: a number is out of range.

    Source: Kim & Panda (2021), Front. Neurosci. 15:773954.

    >>> import torch
    >>> layers = BatchNormTT1d(4, time_steps=3)
    >>> layers[0](torch.rand(2, 4)).shape, len(layers)
    (torch.Size([2, 4]), 3)
    """
    return _through_time(nn.BatchNorm1d, input_features, time_steps, eps, momentum, affine)


def BatchNormTT2d(
    input_features: int,
    time_steps: int,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
) -> nn.ModuleList:
    """One ``torch.nn.BatchNorm2d`` without bias for each time step; otherwise as `BatchNormTT1d`.

    Args:
        input_features: number of channels of the input, [B, input_features, H, W].
        time_steps: T, the length of the list.
        eps: added to the variance.
        momentum: momentum of the running statistics; None for their plain mean.
        affine: whether each layer has a learned scale.

    Returns:
        T layers; step ``t`` calls ``layers[t](x)``.

    Raises:
        TypeError: ``input_features`` or ``time_steps`` is not a whole number.
        ValueError: a number is out of range.

    Source: Kim & Panda (2021), Front. Neurosci. 15:773954.

    >>> import torch
    >>> BatchNormTT2d(3, time_steps=2)[1](torch.rand(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """
    return _through_time(nn.BatchNorm2d, input_features, time_steps, eps, momentum, affine)


def _through_time(
    kind: type[nn.BatchNorm1d] | type[nn.BatchNorm2d],
    input_features: int,
    time_steps: int,
    eps: float,
    momentum: float | None,
    affine: bool,
) -> nn.ModuleList:
    steps = range(whole("time_steps", time_steps, 1, _LONGEST))
    _check(input_features, eps, momentum, name="input_features")
    layers = nn.ModuleList(kind(input_features, eps, momentum, affine) for _ in steps)
    for layer in layers:
        layer.register_parameter("bias", None)  # the threshold takes its role
    return layers


def ThresholdDependentBatchNorm1d(
    num_features: int,
    threshold: float = 1.0,
    alpha: float = 1.0,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
) -> nn.BatchNorm1d:
    r"""tdBN: batch norm whose output begins with the scale of the threshold behind it.

    .. math:: y = \lambda \, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
        \qquad \lambda = \alpha \theta \text{ at the beginning}

    The statistics of all steps together, as in the paper, are those of ``snn.run(...,
    batch_norm="time")``.

    Args:
        num_features: number of features of the input, [B, num_features] or [B, num_features, L].
        threshold: theta of the neuron behind it, > 0.
        alpha: > 0; 1, or ``1 / sqrt(2)`` for each of two branches that are added.
        eps: added to the variance.
        momentum: momentum of the running statistics; None for their plain mean.

    Raises:
        TypeError: ``num_features`` is not a whole number.
        ValueError: ``threshold`` or ``alpha`` is not positive, or a number is out of range.

    Source: Zheng, Wu, Deng, Hu & Li (2021), AAAI 35, 11062-11070. There alpha and theta are
    constant factors beside lambda; here lambda begins at their product, as in SpikingJelly.

    >>> import torch, spikeloom as snn
    >>> norm = snn.ThresholdDependentBatchNorm1d(3, threshold=0.5)
    >>> norm(torch.randn(100, 3)).detach().std(0, correction=0)
    tensor([0.5000, 0.5000, 0.5000])
    """
    _check(num_features, eps, momentum)
    return _scaled(nn.BatchNorm1d(num_features, eps, momentum), threshold, alpha)


def ThresholdDependentBatchNorm2d(
    num_features: int,
    threshold: float = 1.0,
    alpha: float = 1.0,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
) -> nn.BatchNorm2d:
    """tdBN for images, [B, num_features, H, W]; otherwise as `ThresholdDependentBatchNorm1d`.

    Args:
        num_features: number of channels of the input.
        threshold: of the neuron behind it, > 0.
        alpha: > 0.
        eps: added to the variance.
        momentum: momentum of the running statistics; None for their plain mean.

    Raises:
        TypeError: ``num_features`` is not a whole number.
        ValueError: ``threshold`` or ``alpha`` is not positive, or a number is out of range.

    Source: Zheng, Wu, Deng, Hu & Li (2021), AAAI 35, 11062-11070.

    >>> import torch, spikeloom as snn
    >>> snn.ThresholdDependentBatchNorm2d(3, threshold=0.5).weight.detach()
    tensor([0.5000, 0.5000, 0.5000])
    """
    _check(num_features, eps, momentum)
    return _scaled(nn.BatchNorm2d(num_features, eps, momentum), threshold, alpha)


def _scaled(norm: Norm, threshold: Any, alpha: Any) -> Norm:
    scale = real("threshold", threshold, 0.0, open_low=True)
    nn.init.constant_(norm.weight, scale * real("alpha", alpha, 0.0, open_low=True))
    return norm


def _check(features: Any, eps: Any, momentum: Any, name: str = "num_features") -> None:
    """Check what torch's batch norm takes unseen."""
    whole(name, features, 1, MOST_UNITS)
    real("eps", eps, 0.0, example=1e-5)
    if momentum is not None:
        real("momentum", momentum, 0.0, 1.0, example=0.1)


class _Counting(Stateful):
    """Base of layers that differ from step to step; the state is the number of past steps."""

    class State(NamedTuple):
        step: int

    def __init__(self, time_steps: int, mode: str) -> None:
        super().__init__()
        self.time_steps = whole("time_steps", time_steps, 1, _LONGEST)
        self.mode = mode

    def count(self, x: Tensor) -> int:
        """Count the steps of ``x``, and return the number of the first one."""
        if not torch.compiler.is_compiling():
            if alone.claimed:
                alone.refuse_others(self)
            alone.go_on(self)
        first = 0 if self._hidden is None else self._hidden.step
        after = first + (len(x) if self.mode == "sequence" else 1)
        if after > self.time_steps:
            raise ValueError(
                f"{type(self).__name__} has time_steps={self.time_steps}, got step {after}; call "
                "snn.reset(net) before each sequence, or write a larger number of time_steps"
            )
        self._hidden = self.State(after)
        return first

    def extra_repr(self) -> str:
        """The arguments."""
        return f"time_steps={self.time_steps}"


class EachStep(_Counting):
    """Calls another layer at each step: the first one at step 0 after a reset, and so on.

    It makes the list of `BatchNormTT1d` or `BatchNormTT2d` one layer of a network of one step.

    Args:
        layers: one for each step.
        mode: ``"step"`` for inputs [B, ...], ``"sequence"`` for [T, B, ...].

    Raises:
        TypeError: ``layers`` is no list of modules.
        ValueError: ``layers`` is empty, or there are more steps than layers.

    >>> import torch, spikeloom as snn
    >>> norm = snn.EachStep(snn.BatchNormTT1d(4, time_steps=3))
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), norm, snn.Leaky(0.9, init_hidden=True))
    >>> snn.run(net, torch.rand(3, 5, 2)).shape
    torch.Size([3, 5, 4])
    """

    def __init__(self, layers: nn.ModuleList, *, mode: str = "step") -> None:
        if not isinstance(layers, (nn.ModuleList, nn.Sequential, list, tuple)) or not all(
            isinstance(layer, nn.Module) for layer in layers
        ):
            raise TypeError(
                f"layers must be one module for each step, got {type(layers).__name__}; write "
                "snn.BatchNormTT2d(channels, time_steps)"
            )
        super().__init__(len(layers), mode)
        self.layers = nn.ModuleList(layers)

    def forward(self, input_: Tensor) -> Tensor:
        """The output of the layer of this step, or of those of all steps."""
        first = self.count(input_)
        if self.mode == "step":
            return self.layers[first](input_)
        following = self.layers[first : first + len(input_)]
        return torch.stack([layer(x) for layer, x in zip(following, input_, strict=True)])


class TemporalEffectiveBatchNorm(_Counting):
    r"""TEBN: batch norm with one learned factor for each time step.

    .. math:: y[t] = p[t] \left(
        \gamma \, \frac{x[t] - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta \right)

    The statistics of all steps together, as in the paper, are those of ``mode="sequence"`` and of
    ``snn.run(..., batch_norm="time")``; in a loop over time they are those of each step.

    Args:
        norm: a batch norm, such as ``nn.BatchNorm2d(channels)``.
        time_steps: T, the number of factors p.
        mode: ``"step"`` for inputs [B, ...], ``"sequence"`` for [T, B, ...].

    Raises:
        TypeError: ``norm`` is no module, or ``time_steps`` is not a whole number.
        ValueError: ``time_steps`` < 1, or there are more steps since the last ``snn.reset``.

    Source: Duan, Ding, Chen, Yu & Huang (2022), NeurIPS 35; the factors as in SpikingJelly.

    >>> import torch, spikeloom as snn
    >>> norm = snn.TemporalEffectiveBatchNorm(torch.nn.BatchNorm1d(4), time_steps=3)
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), norm, snn.Leaky(0.9, init_hidden=True))
    >>> snn.run(net, torch.rand(3, 5, 2), batch_norm="time").shape
    torch.Size([3, 5, 4])
    """

    def __init__(self, norm: nn.Module, time_steps: int, *, mode: str = "step") -> None:
        if not isinstance(norm, nn.Module):
            raise TypeError(
                f"norm must be a module, got {type(norm).__name__}; write nn.BatchNorm2d(channels)"
            )
        super().__init__(time_steps, mode)
        self.norm = norm
        self.scale = nn.Parameter(torch.ones(self.time_steps, 1))

    def forward(self, input_: Tensor) -> Tensor:
        """Normalised input of one step, or of all steps with their common statistics."""
        first = self.count(input_)
        if self.mode == "step":
            return self.norm(input_) * self.scale[first]
        y = self.norm(input_.flatten(0, 1)).unflatten(0, input_.shape[:2])
        scale = self.scale[first : first + len(input_)]
        return y * scale.view(-1, *[1] * (input_.dim() - 1))
