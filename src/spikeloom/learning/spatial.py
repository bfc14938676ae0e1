"""Spatial learning through time: backpropagation within each step only."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks, tree
from ..core.numbers import whole
from ..core.surrogate import Disabled
from ..core.tree import named_neurons
from .stepwise import StepLoss, StepwiseRule
from .training import refusal

__all__ = ["SLTT"]


@dataclass(frozen=True)
class SLTT(StepwiseRule, name="sltt"):
    r"""Spatial learning through time: backpropagation without the paths through earlier steps.

    .. math::
        \nabla W^l = \sum_t \frac{\partial L[t]}{\partial u^{l}[t]} \otimes s^{l-1}[t]

    with derivatives within step t only: the states of neurons and delays carry no gradient from
    step to step. Memory is independent of T. Any network of one time step learns by it. Loss as
    for `StepwiseRule`.

    Args:
        K: steps that have a gradient, drawn anew for each batch (the authors' SLTT-K); None: all.
            As in the authors' code the others count as 0, so that the gradient is smaller by K / T.

    Source: Meng et al. (2023), Towards memory- and time-efficient backpropagation for training
    spiking neural networks, ICCV, and the authors' code.

    >>> SLTT(K=2)
    SLTT(K=2)
    """

    K: int | None = None

    def __post_init__(self) -> None:
        if self.K is not None:
            whole("K", self.K, 1)

    def check(self, job: Any, probe: Any) -> None:
        super().check(job, probe)
        if self.K is not None and probe.num_steps < self.K:
            raise ValueError(
                f"K must not exceed the number of steps, got K={self.K} for {probe.num_steps} "
                "steps; write rule='sltt', which learns from all of them"
            )

    def scales(self, steps: int) -> list[float]:
        if self.K is None:
            return super().scales(steps)
        chosen = set(torch.randperm(steps)[: self.K].tolist())
        return [1 / steps if t in chosen else 0.0 for t in range(steps)]

    def learner(self, net: Any, loss: StepLoss) -> "Spatial":
        for path, neuron in named_neurons(net):
            what = f"{type(neuron).__name__} {path!r}"
            if "step" not in neuron.modes:
                raise TypeError(
                    refusal(
                        self,
                        f"{what} runs whole sequences, the rule single steps",
                        'write rule="bptt"',
                    )
                )
            if neuron.mode != "step":
                raise ValueError(
                    refusal(
                        self,
                        f"it runs step by step, got {what} in mode={neuron.mode!r}",
                        'write snn.set_mode(net, "step")',
                    )
                )
        if all(isinstance(neuron.spike_grad, Disabled) for _, neuron in named_neurons(net)):
            raise ValueError(
                refusal(self, "no spike has a gradient", "leave out surrogate_disable=True")
            )
        return Spatial(net, loss)


class Spatial:
    """Runs a network step by step, and goes back within each step.

    Args:
        net: one step of a network.
        loss: ``loss(output, target)`` of one step, a number.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    >>> value = Spatial(net, nn.functional.mse_loss).step(torch.rand(4, 3), torch.zeros(4, 2))
    >>> net[0].weight.grad.shape, net[1].mem.requires_grad
    (torch.Size([2, 3]), False)
    """

    def __init__(self, net: nn.Module, loss: StepLoss) -> None:
        self.net = net
        self.loss = loss

    def reset(self) -> None:
        """Forget the state of the network; gradients stay."""
        tree.reset(self.net)

    def step(self, x: Tensor, target: Any, *, scale: float = 1.0) -> Tensor:
        """Run one time step and add its gradient to ``grad``.

        Args:
            x: input of this step, [B, ...].
            target: passed to the loss.
            scale: factor of the gradient; 0: none is computed.

        Returns:
            The loss of this step, without graph and without ``scale``.
        """
        checks.floating(x, "x")
        with torch.set_grad_enabled(scale != 0):
            value = self.loss(self.net(x), target).sum()
            if scale:
                (value * scale).backward()
        tree.detach(self.net)
        return value.detach()
