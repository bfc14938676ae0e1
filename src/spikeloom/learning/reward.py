"""Reward-modulated plasticity: a rule proposes, a reward decides."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import checks
from .hebbian import correlate, outer, weight_of
from .stdp import Memory, PostPre, Rule

__all__ = ["MSTDP", "MSTDPET", "Eligibility"]


class Eligibility(NamedTuple):
    """What `MSTDPET` remembers from step to step.

    >>> Eligibility()
    Eligibility(memory=None, trace=None)
    """

    memory: Memory | None = None  # traces of the rule
    trace: Any = None  # what a reward would still strengthen, [B, *weight.shape]


@dataclass(frozen=True)
class MSTDP:
    r"""STDP multiplied by a reward at once.

    .. math:: \Delta w = \sum_b r_b \, \Delta w_b

    Args:
        rule: what it proposes for each sample; its ``reduction`` must be ``"sum"`` or ``"mean"``.
            Default: ``PostPre(nu_pre=0.01, nu_post=0.01, pairs="all")``.

    Raises:
        TypeError: ``rule`` is no rule.
        ValueError: its reduction is ``"max"``.

    Source: Florian (2007), Neural Computation 19, 1468-1502; the name is SpikingJelly's and
    BindsNET's.

    >>> fc, one = nn.Linear(1, 1, bias=False), torch.ones(2, 1)
    >>> MSTDP(PostPre(nu_pre=0.0, nu_post=1.0)).step(fc, one, one, torch.tensor([1.0, -0.25]))[1]
    tensor([[0.7500]])
    """

    rule: Rule = field(default_factory=lambda: PostPre(nu_pre=0.01, nu_post=0.01, pairs="all"))

    def __post_init__(self) -> None:
        _modulable(self.rule)

    def step(
        self,
        synapse: nn.Module,
        pre: Tensor,
        post: Tensor,
        reward: Any,
        memory: Memory | None = None,
    ) -> tuple[Memory, Tensor]:
        """Traces and change of the weight after the spikes and the reward of one step.

        Args:
            synapse: ``nn.Linear`` or a convolution.
            pre: spikes that enter it, [B, ...].
            post: spikes of the neurons that it feeds, [B, ...].
            reward: a number, or one for each sample, [B].
            memory: traces of the step before. Default: none.

        Returns:
            The new traces, and the change, in the shape of the weight.

        Raises:
            ValueError: the reward has another shape.
        """
        memory, changes = _each(self.rule, synapse, pre, post, memory)
        return memory, _weighed(self.rule, changes, reward)

    def sequence(
        self,
        synapse: nn.Module,
        pre: Tensor,
        post: Tensor,
        reward: Any,
        memory: Memory | None = None,
    ) -> tuple[Memory, Tensor]:
        """`step` for all steps, [T, B, ...], with the present weight and one reward for all.

        >>> fc, spikes = nn.Linear(2, 1, bias=False), torch.ones(3, 4, 2)
        >>> MSTDP().sequence(fc, spikes, spikes[..., :1], reward=1.0)[1].shape
        torch.Size([1, 2])
        """
        memory, terms = self.rule.collected(pre, post, memory)
        weight = weight_of(synapse)
        number = pre.shape[1]
        scale = _rewards(reward, number, pre)
        change = torch.zeros_like(weight)
        for term in terms:
            weighed = term.post * scale.reshape(1, -1, *[1] * (term.post.dim() - 2))
            pre = (term.pre + term.shift).flatten(0, 1)
            change += term.strength(weight) * correlate(synapse, pre, weighed.flatten(0, 1))
        return memory, change / number if self.rule.reduction == "mean" else change

    def apply(self, synapse: nn.Module, change: Tensor) -> None:
        """As `Rule.apply`."""
        self.rule.apply(synapse, change)


@dataclass(frozen=True)
class MSTDPET:
    r"""STDP with delayed reward: each synapse has a decaying trace of its proposed changes.

    .. math::
        e_b \leftarrow e^{-1 / \tau_e} e_b + \Delta w_b / \tau_e \qquad \Delta w = \sum_b r_b e_b

    Args:
        rule: as for `MSTDP`.
        tau_trace: time constant of the eligibility, in steps; > 0.

    Raises:
        TypeError, ValueError: as for `MSTDP`, or the time constant is not positive.

    Source: Florian (2007), Neural Computation 19, 1468-1502.

    >>> fc, one, none = nn.Linear(1, 1, bias=False), torch.ones(1, 1), torch.zeros(1, 1)
    >>> rule = MSTDPET(PostPre(nu_pre=0.0, nu_post=1.0), tau_trace=2.0)
    >>> memory, _ = rule.step(fc, one, one, reward=0.0)
    >>> rule.step(fc, none, none, 1.0, memory)[1]  # exp(-1 / 2) / 2
    tensor([[0.3033]])
    """

    rule: Rule = field(default_factory=lambda: PostPre(nu_pre=0.01, nu_post=0.01, pairs="all"))
    tau_trace: float = 25.0

    def __post_init__(self) -> None:
        _modulable(self.rule)
        checks.in_range(
            "tau_trace", self.tau_trace, 0.0, math.inf, open_low=True, why="it is a time in steps"
        )

    def step(
        self,
        synapse: nn.Module,
        pre: Tensor,
        post: Tensor,
        reward: Any,
        memory: Eligibility | None = None,
    ) -> tuple[Eligibility, Tensor]:
        """Eligibility and weight change after the spikes and reward of one step; as `MSTDP.step`.

        Returns:
            What is remembered, [B, *weight.shape] among it, and the change, in the shape of the
            weight.
        """
        memory = memory or Eligibility()
        traces, changes = _each(self.rule, synapse, pre, post, memory.memory)
        trace = 0.0 if memory.trace is None else memory.trace
        eligible = math.exp(-1 / self.tau_trace) * trace + changes / self.tau_trace
        return Eligibility(traces, eligible), _weighed(self.rule, eligible, reward)

    def apply(self, synapse: nn.Module, change: Tensor) -> None:
        """As `Rule.apply`."""
        self.rule.apply(synapse, change)


def _modulable(rule: Any) -> None:
    if not isinstance(rule, Rule):
        raise TypeError(f"rule must be a learning rule such as PostPre(), got {rule!r}")
    if rule.reduction == "max":
        raise ValueError(
            'a reward weighs the samples of a batch, got reduction="max"; write reduction="sum" '
            'or "mean"'
        )


def _each(
    rule: Rule, synapse: nn.Module, pre: Tensor, post: Tensor, memory: Memory | None
) -> tuple[Memory, Tensor]:
    """Traces, and the change that each sample proposes, [B, *weight.shape]."""

    def apart(pre: Tensor, post: Tensor) -> Tensor:
        each = zip(pre.split(1), post.split(1), strict=True)
        return torch.stack([correlate(synapse, a, b) for a, b in each])

    plain = type(synapse) is nn.Linear and pre.dim() == 2
    return rule.proposed(weight_of(synapse), outer if plain else apart, pre, post, memory)


def _weighed(rule: Rule, changes: Tensor, reward: Any) -> Tensor:
    scale = _rewards(reward, len(changes), changes)
    total = (changes * scale.reshape(-1, *[1] * (changes.dim() - 1))).sum(0)
    return total / len(changes) if rule.reduction == "mean" else total


def _rewards(reward: Any, number: int, like: Tensor) -> Tensor:
    rewards = torch.as_tensor(reward, dtype=like.dtype, device=like.device)
    if rewards.shape not in ((), (number,)):
        raise ValueError(
            f"reward must be a number or one for each of {number} samples, got shape "
            f"{tuple(rewards.shape)}; "
            "write reward=torch.tensor([...]) with one entry a sample"
        )
    return rewards.expand(number)
