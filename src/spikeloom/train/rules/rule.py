"""Learning rules by name: each says what it needs of a network, and changes the network on one
batch.

A rule is a frozen value: ``rule="tbptt"`` is ``rule=TBPTT()``, and ``rule=TBPTT(K=8)`` changes a
number. The mathematics is in `spikeloom.learning` and in autograd. A new rule is one class in a
file of this folder, which enters `RULES` by its ``name``, and one line in ``__init__``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ...core import checks
from ..job import Job, Probe

__all__ = ["RULES", "Outcome", "Rule", "refusal", "rule_of"]

RULES: dict[str, type["Rule"]] = {}  # what the argument ``rule`` of `fit` may name

DEFAULT_LR = 2e-3


class Outcome(NamedTuple):
    """What a rule saw on a batch, before it changed the network (or while it did, if it changes it
    along the way)."""

    loss: float
    outputs: Tensor  # [T, B, N]
    spikes: dict[str, Tensor]  # of each layer, [T, B, ...]


@dataclass(frozen=True)
class Rule:
    """Base of the rules: `check` before any work, `learn` on each batch.

    >>> from spikeloom.train.rules import RULES
    >>> RULES["tbptt"]
    <class 'spikeloom.train.rules.gradients.TBPTT'>
    """

    name: ClassVar[str] = ""
    chaotic: ClassVar[bool] = False  # whether the chaotic loss can be added
    whole: ClassVar[bool] = False  # whether it learns by `Job.forward` and `Job.objective` alone

    def __init_subclass__(cls, name: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if name:
            taken = RULES.get(name)
            if (
                taken is not None and taken.__qualname__ != cls.__qualname__
            ):  # a class redefined in a notebook may be
                raise ValueError(
                    f"a rule needs a name of its own, got {name!r}, which {taken.__qualname__} "
                    "has; write another"
                )
            cls.name = name
            RULES[name] = cls

    def __str__(self) -> str:
        """As written into run cards: the name, unless a number differs from the default."""
        return self.name if self == type(self)() else repr(self)

    def loss(self, given: Any) -> Callable[..., Tensor] | None:
        """The loss for the argument ``loss`` of `fit`; None: the default of `fit`.

        Raises:
            ValueError: the rule has no use for what is given.
        """
        return given

    def optimizer(self, parameters: Iterable[Tensor], lr: float | None) -> torch.optim.Optimizer:
        """The optimiser where `fit` is given none."""
        return torch.optim.Adam(parameters, DEFAULT_LR if lr is None else lr)

    def check(self, job: Job, probe: Probe) -> None:
        """Find out whether the rule applies.

        Raises:
            TypeError, ValueError: it does not; the message says why, and what to write instead.
        """

    def learn(self, job: Job, x: Tensor, y: Tensor) -> Outcome:
        """Change the network on one batch of samples [B, ...] and classes [B]."""
        raise NotImplementedError


def rule_of(value: Any) -> Rule:
    """The rule for the argument ``rule`` of `fit`: a value as it is, a name as its rule with
    default numbers.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a rule.

    >>> str(rule_of("bptt"))
    'bptt'
    """
    if isinstance(value, Rule):
        return value
    if isinstance(value, str):
        return RULES[checks.choice("rule", value, RULES)]()
    raise TypeError(
        f'rule must be a name or a rule, got {value!r}; write rule="bptt", or '
        "rule=snn.train.TBPTT(K=5)"
    )


def refusal(rule: Rule, why: str, instead: str) -> str:
    """The message of a rule that does not apply.

    >>> refusal(rule_of("bptt"), "no spike has a gradient", "give the neurons a surrogate")
    'rule="bptt" does not apply: no spike has a gradient; give the neurons a surrogate'
    """
    return f'rule="{rule.name}" does not apply: {why}; {instead}'
