"""Second derivatives of a printed loop: the plain loop runs again and computes the first
derivatives."""

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.transition import TRANSITIONS, Transition

__all__ = ["differentiable_gradients"]


def differentiable_gradients(ctx: Any, grads: Any) -> list[Tensor | None]:
    """Return differentiable gradients of x, states and parameters; None where one is not requested.

    Args:
        ctx: context of the operator, see `spikeloom.kernels.scan`.
        grads: gradients of its outputs; None where there is none.

    Raises:
        RuntimeError: the input was not kept.
    """
    n, k = ctx.sizes
    if not ctx.has_x:
        raise RuntimeError(
            f"a second derivative needs the input of {TRANSITIONS[ctx.key].neuron.__name__}, "
            "which residual "
            f'{ctx.residual!r} does not keep; write with snn.residual("input"), or with '
            'snn.backend("eager")'
        )
    # views, because one input may depend on another, whose gradient would then be counted twice
    views = [tensor.view_as(tensor) for tensor in ctx.saved_tensors[: 1 + n + k]]
    x, state, params = views[0], views[1 : 1 + n], views[1 + n :]
    steps = [x] * ctx.steps if ctx.constant else x.unbind(0)
    spk, states = _looped(TRANSITIONS[ctx.key], steps, state, params)
    outputs = [
        torch.stack(spk),
        *(torch.stack(path) if ctx.path else path[-1] for path in zip(*states, strict=True)),
    ]
    flowing = [
        (y, g) for y, g in zip(outputs, grads, strict=False) if g is not None and y.requires_grad
    ]
    inputs = [view for view, wanted in zip(views, ctx.wanted, strict=True) if wanted]
    if not flowing:
        return [None] * len(views)
    outputs, flow = zip(*flowing, strict=True)
    found = iter(torch.autograd.grad(outputs, inputs, flow, create_graph=True, allow_unused=True))
    return [next(found) if wanted else None for wanted in ctx.wanted]


def _looped(
    transition: Transition, steps: Sequence[Tensor], state: Sequence[Tensor], params: Any
) -> Any:
    """Return spikes and states of the plain loop, as lists over time."""
    named = namedtuple("Params", transition.names)(*params)
    now, spikes, states = transition.neuron.State(*state), [], []
    for x in steps:
        spk, now = transition(x.to(now[0].dtype), now, named)
        spikes.append(spk.to(x.dtype))
        states.append(now)
    return spikes, states
