"""The one table of learning rules, by name.

A rule enters `RULES` where its class is defined: ``class Mine(TrainingRule, name="mine")`` for a
rule of `fit` and `gradient_report`, ``class Mine(Rule, name="mine")`` for a rule of plasticity of
`DiehlAndCook2015`. Every place that takes a rule by name looks it up here.
"""

from typing import Any, ClassVar, TypeVar

from ..core import checks

__all__ = ["RULES", "Registered", "rule_of", "rules_of"]

RULES: dict[str, type["Registered"]] = {}

Kind = TypeVar("Kind", bound="Registered")


class Registered:
    """Base of the kinds of rules: a subclass with ``name=`` enters the table.

    >>> RULES["triplet"].name
    'triplet'
    """

    name: ClassVar[str] = ""
    usage: ClassVar[str] = ""  # how an argument names a rule of this kind, for messages

    def __init_subclass__(cls, name: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if not name:
            return
        taken = RULES.get(name)
        # a notebook may define its class again
        if taken is not None and taken.__qualname__ != cls.__qualname__:
            raise ValueError(
                f"a rule needs a name of its own, got {name!r}, which {taken.__qualname__} has; "
                "write another"
            )
        cls.name = name
        RULES[name] = cls


def rules_of(kind: type[Kind]) -> dict[str, type[Kind]]:
    """The rules of one kind, by name.

    >>> from spikeloom.learning import Rule
    >>> list(rules_of(Rule))[:2]
    ['power_law', 'post_pre']
    """
    return {name: rule for name, rule in RULES.items() if issubclass(rule, kind)}


def rule_of(value: Any, kind: type[Kind]) -> Kind:
    """The rule for an argument ``rule``: a rule unchanged, a name as its rule with default numbers.

    Raises:
        ValueError: there is no rule of this kind with that name.
        TypeError: neither a name nor a rule of this kind.

    >>> from spikeloom.learning import TrainingRule
    >>> str(rule_of("bptt", TrainingRule))
    'bptt'
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        names = rules_of(kind)
        return names[checks.choice("rule", value, names)]()
    raise TypeError(f"rule must be a name or a rule, got {value!r}; write {kind.usage}")
