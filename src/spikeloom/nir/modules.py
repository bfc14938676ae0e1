"""Modules that graphs need and torch lacks: elementwise scale and offset."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Offset", "Scale"]


class Scale(nn.Module):
    """Multiply each element by a factor of its own.

    Args:
        factor: a scalar, or the shape of one sample.
        learn: make it a parameter.

    >>> Scale(torch.tensor([1.0, 2.0]))(torch.ones(1, 2))
    tensor([[1., 2.]])
    """

    factor: Tensor

    def __init__(self, factor: Any, learn: bool = False) -> None:
        super().__init__()
        value = torch.as_tensor(factor).detach().clone()
        if learn:
            self.register_parameter("factor", nn.Parameter(value))
        else:
            self.register_buffer("factor", value)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` times the factor, in the shape of ``x``, [B, ...]."""
        return x * self.factor

    def extra_repr(self) -> str:
        """The factor, or its shape."""
        return (
            f"{self.factor.item():.4g}"
            if self.factor.numel() == 1
            else f"shape={tuple(self.factor.shape)}"
        )


class Offset(nn.Module):
    """Add to each element a constant of its own: the rest potential of a readout.

    Args:
        value: a scalar, or the shape of one sample.

    >>> Offset(torch.tensor(0.5))(torch.ones(1, 2))
    tensor([[1.5000, 1.5000]])
    """

    value: Tensor

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.register_buffer("value", torch.as_tensor(value).detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """``x`` plus the constant, [B, ...]."""
        return x + self.value
