"""Losses of spike times in continuous time, and what helps neurons that are silent.

Spike times are [B, J], or [B, J, K] of which the first spike counts; infinity means that there is
none.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..core.numbers import real, tensor
from .spike_errors import class_labels

__all__ = ["first_spike_loss", "first_times", "push_silent"]


def first_times(times: Tensor, never: float) -> Tensor:
    """The first spikes, silent neurons at the time ``never``, through which no gradient passes.

    Args:
        times: [B, J] or [B, J, K], in order.
        never: in the unit of ``times``.

    Returns:
        [B, J].

    >>> first_times(torch.tensor([[[1.0, 2.0], [torch.inf, torch.inf]]]), never=5.0)
    tensor([[1., 5.]])
    """
    if (
        tensor("times", times).dim() not in (2, 3)
        or not times.is_floating_point()
        or not times.numel()
    ):
        raise ValueError(
            f"times must be floating point, [B, J] or [B, J, K], got {times.dtype} of shape "
            f"{tuple(times.shape)}"
        )
    if bool(times.isnan().any()):
        raise ValueError(
            "times must be numbers, or infinity for no spike, got NaN; write torch.inf"
        )
    never = real("never", never, infinite=True)
    first = times if times.dim() == 2 else times[..., 0]
    return torch.where(torch.isfinite(first), first, never)


def first_spike_loss(
    times: Tensor,
    labels: Tensor,
    *,
    tau: float,
    never: float,
    early: float = 0.0,
    tau_early: float | None = None,
) -> Tensor:
    r"""Cross entropy of first spike times: the class shall fire first.

    .. math::
        L = -\ln \frac{e^{-t_y/\tau}}{\sum_j e^{-t_j/\tau}}
        + a \left(e^{t_y/\tau_{early}} - 1\right)

    Args:
        times: [B, J] or [B, J, K].
        labels: classes, [B] of int64.
        tau: time that decides between two outputs, positive.
        never: time of silent outputs, at or after the end of the simulation.
        early: a, weight of the term for an early spike of the class.
        tau_early: its unit of time; default is ``never``.

    Returns:
        The mean over the samples, ().

    Raises:
        ValueError: a time constant is not positive.

    Source: Wunderlich & Pehle (2021), Sci. Rep. 11, 12829, and Göltz et al. (2021), Nat. Mach.
    Intell. 3, 823-835, recalled.

    >>> first_spike_loss(torch.tensor([[1.0, torch.inf]]), torch.tensor([0]), tau=1.0, never=3.0)
    tensor(0.1269)
    """
    tau = real("tau", tau, 0.0, open_low=True)
    early = real("early", early, example=0.0)
    first = first_times(times, never)
    labels = class_labels(labels, *first.shape)
    loss = cross_entropy(-first / tau, labels)
    if early:
        unit = never if tau_early is None else tau_early
        unit = real("tau_early", unit, 0.0, open_low=True)
        own = first.gather(1, labels.unsqueeze(1)).squeeze(1)
        loss = loss + early * (torch.exp(own / unit) - 1).mean()
    return loss


def push_silent(weight: Tensor, times: Tensor, amount: float, wanted: Tensor | None = None) -> None:
    """Add to ``weight.grad`` a term that makes silent neurons fire.

    It is minus ``amount`` times the share of samples without a spike.

    A spike that does not exist has no gradient, so that a silent neuron would be lost. Call it
    between ``backward()`` and the step of the optimiser; weights of silent neurons then grow, all
    by the same.

    Args:
        weight: of the layer, [J, ...].
        times: its spikes, [B, J] or [B, J, K].
        amount: gradient for a neuron that is silent in all samples, not negative.
        wanted: which neurons should fire in which samples, [B, J] of bool; default: all in all.

    Raises:
        ValueError: ``weight`` has no gradient yet, or shapes do not fit.

    >>> weight = torch.nn.Parameter(torch.zeros(2, 3)); weight.grad = torch.zeros(2, 3)
    >>> push_silent(weight, torch.tensor([[1.0, torch.inf]]), 0.5)
    >>> weight.grad
    tensor([[ 0.0000,  0.0000,  0.0000],
            [-0.5000, -0.5000, -0.5000]])
    """
    if weight.grad is None:
        raise ValueError("push_silent adds to weight.grad, got none; call it after backward()")
    first = times if times.dim() == 2 else times[..., 0]
    if first.shape[1] != len(weight):
        raise ValueError(
            f"times must be [B, {len(weight)}], got {tuple(times.shape)}; give the spikes of this "
            "layer"
        )
    silent = ~torch.isfinite(first.detach())
    silent = silent if wanted is None else silent & wanted
    share = silent.to(weight.grad).mean(0)
    weight.grad -= (amount * share).reshape(-1, *[1] * (weight.dim() - 1))
