"""The parts of every Hebbian rule: spike traces, and their correlation in the shape of a weight.

Populations are neurons, synapses are ``nn.Linear``, ``nn.Conv2d`` and other layers that are linear
in their weight. The correlation of what enters a synapse with what leaves it is the vector-Jacobian
product of the synapse with respect to its weight, so that one function serves every kind of layer.
Nothing here has a gradient.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..core import checks

__all__ = ["correlate", "decay", "outer", "pullback", "trace", "weight_of"]


def trace(previous: Tensor | float, spk: Tensor, decay: float) -> Tensor:
    """Exponentially decaying memory of spikes: ``decay * previous + spk``.

    Args:
        previous: trace of the step before, or 0 for none.
        spk: spikes, [B, ...].
        decay: fraction left after one step, in [0, 1].

    Returns:
        [B, ...], in spikes.

    Raises:
        ValueError: ``previous`` belongs to spikes of another shape, such as a batch of another
            size.

    >>> trace(torch.tensor([[2.0]]), torch.tensor([[1.0]]), decay=0.5)
    tensor([[2.]])
    """
    if isinstance(previous, Tensor) and previous.dim() and previous.shape != spk.shape:
        raise ValueError(
            f"a trace of shape {tuple(previous.shape)} cannot go on with spikes of shape "
            f"{tuple(spk.shape)}; reset the "
            "rule before a batch of another size"
        )
    return decay * previous + spk


def decay(name: str, tau: float, *, exact: bool = True) -> float:
    """Fraction of a trace that is left after one step.

    Args:
        name: of the argument, for messages.
        tau: time constant, in steps; > 0, and at least 1 for the Euler step.
        exact: ``exp(-1 / tau)``; False: the Euler step ``1 - 1 / tau``.

    Raises:
        ValueError: ``tau`` is too small.

    >>> decay("tau_pre", 2.0, exact=False)
    0.5
    """
    low, why = (
        (0.0, "it is a time") if exact else (1.0, "the trace would change its sign in every step")
    )
    checks.in_range(name, tau, low, math.inf, open_low=exact, open_high=True, why=why)
    return math.exp(-1 / tau) if exact else 1 - 1 / tau


def correlate(synapse: nn.Module, pre: Tensor, post: Tensor) -> Tensor:
    """Sum over the batch, and over positions that share a weight, of post times pre.

    Args:
        synapse: a module with a ``weight``, linear in it; its bias plays no part, its hooks are not
            called.
        pre: what enters the synapse, [B, ...]; spikes or a trace.
        post: what is at its output, [B, ...].

    Returns:
        In the shape of ``synapse.weight``.

    Raises:
        TypeError: the module has no weight.
        ValueError: ``post`` has not the shape of the output for ``pre``.

    >>> correlate(nn.Linear(2, 1), torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0]]))
    tensor([[2., 6.]])
    """
    weight = weight_of(synapse)
    if isinstance(synapse, nn.Linear) and type(synapse).forward is nn.Linear.forward:
        if pre.shape[-1:] != weight.shape[1:]:
            raise ValueError(
                f"pre must have the {weight.shape[1]} inputs of the synapse on its last axis, got "
                f"{tuple(pre.shape)}"
            )
        _same_shape(torch.Size((*pre.shape[:-1], len(weight))), post)
        return post.detach().reshape(-1, len(weight)).T @ pre.detach().reshape(-1, weight.shape[1])
    bare = _Bare(synapse)
    return pullback(
        lambda w: torch.func.functional_call(bare, {"synapse.weight": w}, (pre,)), weight, post
    )


def weight_of(synapse: nn.Module) -> Tensor:
    """The weight of a synapse, without graph.

    Raises:
        TypeError: the module has none.

    >>> weight_of(nn.Linear(2, 1)).shape
    torch.Size([1, 2])
    """
    weight = getattr(synapse, "weight", None)
    if not isinstance(weight, Tensor):
        raise TypeError(
            f"a synapse is a module with a weight, got {type(synapse).__name__}; write e.g. net.fc1"
        )
    return weight.detach()


def pullback(response: Callable[[Tensor], Tensor], weight: Tensor, post: Tensor) -> Tensor:
    """Gradient of ``(response(weight) * post).sum()`` with respect to the weight.

    Args:
        response: linear in the weight, up to a constant.
        weight: where to take it; it need not require a gradient.
        post: of the shape of the response.

    Returns:
        In the shape of ``weight``.

    Raises:
        ValueError: the shapes do not agree.

    >>> pullback(lambda w: 3 * w, torch.zeros(2), torch.tensor([1.0, 2.0]))
    tensor([3., 6.])
    """
    with torch.enable_grad():
        leaf = weight.detach().requires_grad_()
        output = response(leaf)
        _same_shape(output.shape, post)
        (gradient,) = torch.autograd.grad(output, leaf, post.detach())
    return gradient


def _same_shape(expected: torch.Size, post: Tensor) -> None:
    if expected != post.shape:
        raise ValueError(
            f"post must have the shape of the synapse's output, {tuple(expected)}, got "
            f"{tuple(post.shape)}; "
            "record the neuron that this synapse feeds"
        )


def outer(pre: Tensor, post: Tensor) -> Tensor:
    """Post times pre for each sample on its own: what `correlate` sums for ``nn.Linear``.

    Args:
        pre: [..., in_features].
        post: [..., out_features].

    Returns:
        [..., out_features, in_features].

    >>> outer(torch.tensor([1.0, 3.0]), torch.tensor([2.0]))
    tensor([[2., 6.]])
    """
    return post.unsqueeze(-1) * pre.unsqueeze(-2)


class _Bare(nn.Module):
    """Calls a module without its hooks: a monitor shall not see what a learning rule computes."""

    def __init__(self, synapse: nn.Module) -> None:
        super().__init__()
        self.synapse = synapse

    def forward(self, x: Tensor) -> Tensor:
        return self.synapse.forward(x)
