"""Decays per step: the equations clamp them to [0, 1], and gradients can move them back inside.

``torch.clamp`` has no gradient beyond its edges, and since torch 2.14 none at them. A decay that
starts at 1 or was pushed past it would never move again. The clamp used here passes the gradient
unchanged, which every printed kernel supports, and a hook of the parameter drops the part of the
gradient that points further outside.
"""

from typing import Any

from torch import Tensor

from . import checks

__all__ = ["lead_inward", "time_constant", "unit"]

# a leak per step that float64 rounds away: a finite time constant for a neuron that does not leak
_NEVER = 2.0**-60


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
    number = value.detach()
    return number.clamp(margin, 1 - margin) + (value - number)


def time_constant(decay: Any, dt: float) -> Any:
    """Time constant in seconds of a decay per step, by Euler's forward step.

    Args:
        decay: a float64 array, clipped to [0, 1].
        dt: step in seconds.

    >>> import numpy as np
    >>> float(time_constant(np.array(0.75), 1.0))
    4.0
    """
    return dt / (1.0 - decay.clip(0, 1)).clip(_NEVER)


def lead_inward(parameter: Any) -> None:
    """Register a hook that drops a parameter's gradient where it points out of [0, 1].

    The part that points back into the interval is not changed. A second call has no effect.

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
