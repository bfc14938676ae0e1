"""The rules of spike-timing-dependent plasticity; their base is in `rule`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...core.numbers import real
from ..hebbian import decay, trace
from .rule import Memory, Rule, Term

__all__ = ["Exponential", "PairRule", "PostPre", "PowerLaw", "Triplet", "unchanged"]


@dataclass(frozen=True)
class PowerLaw(Rule, name="power_law"):
    r"""Potentiation at a spike of the output, less a constant target, and slower near the bound.

    .. math::
        \Delta w = \alpha (x_{pre} - x_{tar}) (w_{max} - w)^\mu \text{ at each spike of the output}

    ``x_tar`` is a constant to which the trace of the input is compared (n3ml's manual calls it a
    postsynaptic trace): inputs whose trace is below it were not part of the cause, and lose weight.

    Args:
        alpha: rate of learning.
        x_tar: target of the trace, in [0, 1] for ``pairs="nearest"``.
        mu: 0: the weight does not matter; 1: the change is proportional to what is left; >= 0.
        (The other arguments are those of `Rule`.)

    Source: Diehl & Cook (2015), Front. Comput. Neurosci. 9:99; constants from their code.

    >>> fc = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(fc.weight, 0.5)
    >>> memory, _ = PowerLaw().step(fc, torch.ones(1, 1), torch.zeros(1, 1))
    >>> rule = PowerLaw(alpha=1.0, x_tar=0.0, mu=1.0, tau_pre=1.0)
    >>> _, change = rule.step(fc, torch.zeros(1, 1), torch.ones(1, 1), memory)
    >>> change  # one step later: exp(-1) * 0.5
    tensor([[0.1839]])
    """

    alpha: float = 0.01
    x_tar: float = 0.4
    mu: float = 0.2

    def terms(self, pre: Tensor, post: Tensor, memory: Memory) -> tuple[Memory, tuple[Term, ...]]:
        x = self.remember(memory.pre, pre, self.tau_pre)
        return Memory(x), (Term(self._strength, x, post, -self.x_tar),)

    def _strength(self, weight: Tensor) -> Tensor:
        return self.alpha * self.headroom(weight, self.mu)


@dataclass(frozen=True)
class PostPre(Rule, name="post_pre"):
    r"""Potentiation at a spike of the output, depression at a spike of the input.

    .. math::
        \Delta w = \eta_{post} (x_{pre} - x_{tar}) (w_{max} - w)^{\mu_{post}}
        \text{ at spikes of the output} \qquad
        \Delta w = -\eta_{pre} x_{post} (w - w_{min})^{\mu_{pre}} \text{ at spikes of the input}

    With both exponents 0 the bounds are hard, with both 1 soft; ``pairs="all"`` with ``x_tar=0`` is
    classical STDP.

    Args:
        nu_pre: rate of the depression.
        nu_post: rate of the potentiation.
        mu_pre: how the depression depends on the weight, >= 0.
        mu_post: how the potentiation does.
        x_tar: constant target of the trace of the input.
        (The other arguments are those of `Rule`.)

    Source: rates from n3ml and BindsNET; the form with exponents is Diehl & Cook (2015), Front.
    Comput. Neurosci. 9:99.

    >>> fc = torch.nn.Linear(1, 1, bias=False)
    >>> rule = PostPre(nu_pre=1.0)
    >>> memory, _ = rule.step(fc, torch.zeros(1, 1), torch.ones(1, 1))  # the output fires
    >>> _, change = rule.step(fc, torch.ones(1, 1), torch.zeros(1, 1), memory)
    >>> change  # the input fires one step later: -exp(-1 / 20)
    tensor([[-0.9512]])
    """

    nu_pre: float = 1e-4
    nu_post: float = 1e-2
    mu_pre: float = 0.0
    mu_post: float = 0.0
    x_tar: float = 0.0

    def terms(self, pre: Tensor, post: Tensor, memory: Memory) -> tuple[Memory, tuple[Term, ...]]:
        x = self.remember(memory.pre, pre, self.tau_pre)
        y = self.remember(memory.post, post, self.tau_post)
        return Memory(x, y), (
            Term(self._potentiation, x, post, -self.x_tar),
            Term(self._depression, pre, y),
        )

    def _potentiation(self, weight: Tensor) -> Tensor:
        return self.nu_post * self.headroom(weight, self.mu_post)

    def _depression(self, weight: Tensor) -> Tensor:
        return -self.nu_pre * self.substance(weight, self.mu_pre)


@dataclass(frozen=True)
class Exponential(Rule, name="exponential"):
    r"""Potentiation and depression at output spikes, exponential in the weight.

    .. math::
        \Delta w = \alpha \left( x_{pre} e^{-\beta w} - x_{tar} e^{-\beta (w_{max} - w)} \right)
        \text{ at each spike of the output}

    Args:
        alpha: rate of learning.
        x_tar: how strong the depression is.
        beta: how fast potentiation fades with a growing weight, and depression with a shrinking
        one; in [0, 50]. (The other arguments are those of `Rule`.)

    Source: Diehl & Cook (2015), Front. Comput. Neurosci. 9:99, recalled.

    >>> fc = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(fc.weight)
    >>> Exponential(alpha=1.0, x_tar=0.0).step(fc, torch.ones(1, 1), torch.ones(1, 1))[1]
    tensor([[1.]])
    """

    alpha: float = 0.01
    x_tar: float = 0.4
    beta: float = 1.0

    def terms(self, pre: Tensor, post: Tensor, memory: Memory) -> tuple[Memory, tuple[Term, ...]]:
        x = self.remember(memory.pre, pre, self.tau_pre)
        return Memory(x), (
            Term(self._potentiation, x, post),
            Term(self._depression, torch.ones_like(x), post),
        )

    def _potentiation(self, weight: Tensor) -> Tensor:
        return self.alpha * torch.exp(-self.beta * weight)

    def _depression(self, weight: Tensor) -> Tensor:
        return -self.alpha * self.x_tar * torch.exp(-self.beta * (self.w_max - weight))


@dataclass(frozen=True)
class Triplet(Rule, name="triplet"):
    r"""Potentiation by two output spikes and one input spike, depression as in `PostPre`.

    .. math:: \Delta w = \eta_{post} x_{pre} z_{post}^- \text{ at spikes of the output}
        \qquad \Delta w = -\eta_{pre} y_{post} \text{ at spikes of the input}

    where z is a second, slower trace of the output, read before its own spike.

    Args:
        nu_pre: rate of the depression.
        nu_post: rate of the potentiation.
        tau_slow: time constant of z, in steps; > 0.
        (The other arguments are those of `Rule`.)

    Source: the rule that the released code of Diehl & Cook (2015), Front. Comput. Neurosci. 9:99,
    runs.

    >>> rule = Triplet(nu_pre=0.0, nu_post=1.0)
    >>> fc, one = torch.nn.Linear(1, 1, bias=False), torch.ones(1, 1)
    >>> memory, first = rule.step(fc, one, one)
    >>> memory, second = rule.step(fc, one, one, memory)
    >>> first.item(), second.item()  # exp(-1 / 40)
    (0.0, 0.97530...)
    """

    nu_pre: float = 1e-4
    nu_post: float = 1e-2
    tau_slow: float = 40.0

    def terms(self, pre: Tensor, post: Tensor, memory: Memory) -> tuple[Memory, tuple[Term, ...]]:
        x = self.remember(memory.pre, pre, self.tau_pre)
        y = self.remember(memory.post, post, self.tau_post)
        none = torch.zeros_like(post)
        before = (
            none if memory.slow is None else trace(memory.slow, none, math.exp(-1 / self.tau_slow))
        )
        slow = self.remember(memory.slow, post, self.tau_slow)
        return Memory(x, y, slow), (
            Term(self._potentiation, x, post * before),
            Term(self._depression, pre, y),
        )

    def _potentiation(self, weight: Tensor) -> Tensor:
        return torch.full_like(weight, self.nu_post)

    def _depression(self, weight: Tensor) -> Tensor:
        return torch.full_like(weight, -self.nu_pre)


def unchanged(weight: Tensor) -> Tensor:
    """The weight itself: a change proportional to it.

    >>> unchanged(3)
    3
    """
    return weight


@dataclass(frozen=True)
class PairRule(Rule):
    r"""Every pair of spikes changes the weight by functions of the weight of your choice.

    .. math::
        x \leftarrow d_{pre} x + s_{pre} \qquad y \leftarrow d_{post} y + s_{post} \qquad
        \Delta w = f_{post}(w) \sum_b s_{post} x - f_{pre}(w) \sum_b y s_{pre}

    Args:
        decay_pre: fraction of the trace of the input that is left after one step, in [0, 1].
        decay_post: the same for the output.
        f_pre: how depression, at spikes of the input, depends on the weight.
        f_post: how potentiation, at spikes of the output, depends on the weight.
        (The other arguments are those of `Rule`; without bounds and with ``pairs="all"`` by
        default. The time constants follow from the decays.)

    Source: the form and names are those of snnTorch's ``stdp_linear_single_step``.

    >>> rule = PairRule.of_times(2.0, 2.0, f_pre=torch.ones_like, f_post=torch.ones_like)
    >>> fc, one, none = torch.nn.Linear(1, 1, bias=False), torch.ones(1, 1), torch.zeros(1, 1)
    >>> memory, _ = rule.step(fc, one, none)  # the input fires, then the output
    >>> rule.step(fc, none, one, memory)[1]
    tensor([[0.5000]])
    """

    decay_pre: float
    decay_post: float
    f_pre: Callable[[Tensor], Tensor] = unchanged
    f_post: Callable[[Tensor], Tensor] = unchanged
    tau_pre: float = field(init=False, repr=False, compare=False, default=0.0)
    tau_post: float = field(init=False, repr=False, compare=False, default=0.0)
    pairs: str = field(kw_only=True, default="all")
    w_min: float = field(kw_only=True, default=-math.inf)
    w_max: float = field(kw_only=True, default=math.inf)

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_bounds()
        for side in ("pre", "post"):
            decay = real(f"decay_{side}", getattr(self, f"decay_{side}"), 0.0, 1.0, example=0.95)
            tau = math.inf if decay else 0.0
            if 0 < decay < 1:
                tau = -1 / math.log(decay)
            object.__setattr__(self, f"tau_{side}", tau)

    @classmethod
    def of_times(
        cls,
        tau_pre: float,
        tau_post: float,
        f_pre: Callable[[Tensor], Tensor] = unchanged,
        f_post: Callable[[Tensor], Tensor] = unchanged,
        *,
        exact: bool = False,
    ) -> "PairRule":
        """The rule with time constants in steps; ``exact`` takes exp(-1 / tau), not 1 - 1 / tau.

        Raises:
            ValueError: a time constant is too small.
        """
        return cls(
            decay("tau_pre", tau_pre, exact=exact),
            decay("tau_post", tau_post, exact=exact),
            f_pre,
            f_post,
        )

    def terms(self, pre: Tensor, post: Tensor, memory: Memory) -> tuple[Memory, tuple[Term, ...]]:
        x = self._trace(memory.pre, pre, self.decay_pre)
        y = self._trace(memory.post, post, self.decay_post)
        return Memory(x, y), (
            Term(self.f_post, x, post),
            Term(self._depression, pre, y),
        )

    def _depression(self, weight: Tensor) -> Tensor:
        return -self.f_pre(weight)

    def step(
        self, synapse: Any, pre: Any, post: Tensor, memory: Any = None, traces: Any = None
    ) -> tuple[Memory, Tensor]:
        """As `Rule.step`; ``step(weight, product, pre, post, traces)`` is `proposed`."""
        if isinstance(synapse, Tensor):
            return self.proposed(synapse, pre, post, memory, traces)
        return super().step(synapse, pre, post, memory)
