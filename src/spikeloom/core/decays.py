"""Decays that learn: kept in [0, 1] by the equations, and led back by gradients at and beyond the edges.

``torch.clamp`` has no gradient beyond its edges, and since torch 2.14 none at them, so that a decay that starts at 1 or
was pushed past it would never move again. Here the clamp passes gradients whole, which every printed kernel can do,
and a hook of the parameter drops what would push it further outside.
"""

from typing import Any

from torch import Tensor

from . import checks

__all__ = ["lead_inward", "unit"]


def unit(value: Tensor, margin: float = 0.0) -> Tensor:
    """``value`` clamped to [0, 1], with the gradient of ``value`` itself.

    Args:
        value: a decay.
        margin: least distance from 0 and 1.

    >>> beta = torch.tensor([-0.5, 0.5, 1.0], requires_grad=True)
    >>> unit(beta).sum().backward()
    >>> unit(beta).tolist(), beta.grad
    ([0.0, 0.5, 1.0], tensor([1., 1., 1.]))
    """
    if not value.requires_grad and not checks.transformed():
        return value.clamp(margin, 1 - margin)
    return value.detach().clamp(margin, 1 - margin) + (value - value.detach())


def lead_inward(parameter: Any) -> None:
    """Drop the part of a parameter's gradient that would push it out of [0, 1], once; what leads back in stays.

    Args:
        parameter: a leaf that requires a gradient.

    >>> beta = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> lead_inward(beta)
    >>> (beta * torch.tensor([1.0, -1.0])).sum().backward()
    >>> beta.grad
    tensor([1., 0.])
    """
    hooks = parameter._backward_hooks or {}
    if any(isinstance(hook, _Inward) for hook in hooks.values()):
        return
    parameter.register_hook(_Inward(parameter))


class _Inward:
    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter

    def __call__(self, grad: Tensor) -> Tensor:
        value = self.parameter.detach()
        outward = ((value >= 1) & (grad < 0)) | ((value <= 0) & (grad > 0))
        return grad.masked_fill(outward, 0.0)
