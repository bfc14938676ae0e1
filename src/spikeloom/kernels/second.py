"""Second derivatives: the forward pass runs again as ordinary, differentiable operations."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.transition import TRANSITIONS, Transition

__all__ = ["differentiable", "differentiable_gradients"]


def differentiable(
    function: Callable[..., Sequence[Tensor]],
    tensors: Sequence[Tensor | None],
    wanted: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Return gradients of ``tensors`` that can be differentiated; None where one is not ``wanted``.

    Args:
        function: computes the outputs from the tensors.
        tensors: its arguments.
        wanted: which of them need a gradient.
        grads: gradients of the outputs; None where there is none.
    """
    # views, because one input may depend on another, whose gradient would then be counted twice
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
    outputs = function(*views)
    flowing = [
        (y, g) for y, g in zip(outputs, grads, strict=False) if g is not None and y.requires_grad
    ]
    if not flowing:
        return [None] * len(views)
    outputs, flow = zip(*flowing, strict=True)
    inputs: list[Any] = [view for view, flag in zip(views, wanted, strict=True) if flag]
    found = iter(torch.autograd.grad(outputs, inputs, flow, create_graph=True, allow_unused=True))
    return [next(found) if flag else None for flag in wanted]


def differentiable_gradients(ctx: Any, grads: Any) -> list[Tensor | None]:
    """Return differentiable gradients of x, states and parameters; None where one is not requested.

    Args:
        ctx: context of the operator, see `spikeloom.kernels.scan`.
        grads: gradients of its outputs; None where there is none.

    Raises:
        RuntimeError: the input was not saved.
    """
    n, k = ctx.sizes
    if not ctx.has_x:
        raise RuntimeError(
            f"a second derivative needs the input of {TRANSITIONS[ctx.key].neuron.__name__}, "
            "which residual "
            f'{ctx.residual!r} does not keep; write with snn.residual("input"), or with '
            'snn.backend("eager")'
        )
    transition = TRANSITIONS[ctx.key]

    def outputs(x: Tensor, *tensors: Tensor) -> list[Tensor]:
        steps = [x] * ctx.steps if ctx.constant else x.unbind(0)
        spk, states = _looped(transition, steps, tensors[:n], tensors[n:])
        paths = zip(*states, strict=True)
        return [torch.stack(spk), *(torch.stack(p) if ctx.path else p[-1] for p in paths)]

    return differentiable(outputs, ctx.saved_tensors[: 1 + n + k], ctx.wanted, grads)


def _looped(
    transition: Transition, steps: Sequence[Tensor], state: Sequence[Tensor], params: Any
) -> Any:
    """Return spikes and states of the plain loop, as lists over time."""
    named = namedtuple("Params", transition.names)(*params)
    now = transition.neuron.State(*state)
    spikes = []
    states = []
    for x in steps:
        spk, now = transition(x.to(now[0].dtype), now, named)
        spikes.append(spk.to(x.dtype))
        states.append(now)
    return spikes, states
