"""Batch normalisation through time, with separate statistics for each time step."""

from torch import nn

__all__ = ["BatchNormTT1d", "BatchNormTT2d"]


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
        ValueError: ``time_steps`` < 1.

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
        ValueError: ``time_steps`` < 1.

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
    if time_steps < 1:
        raise ValueError(f"time_steps must be at least 1, got {time_steps}")
    layers = nn.ModuleList(kind(input_features, eps, momentum, affine) for _ in range(time_steps))
    for layer in layers:
        layer.register_parameter("bias", None)  # the threshold takes its role
    return layers
