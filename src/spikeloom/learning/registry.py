"""The one table of learning rules, by name.

A rule enters `RULES` where its class is defined: ``class Mine(TrainingRule, name="mine")`` for a
rule of `fit` and `gradient_report`, ``class Mine(Rule, name="mine")`` for a rule of plasticity of
`DiehlAndCook2015`. Every function that takes a rule by name reads it here. ``"my_rules.py:mine"``
runs a file of the user first.
"""

import importlib.util
import sys
from pathlib import Path
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

    Args:
        value: a rule, its name, or ``"FILE.py:NAME"`` for a rule that a file defines.
        kind: of the rule.

    Raises:
        ValueError: there is no rule of this kind with that name, or no such file.
        TypeError: neither a name nor a rule of this kind.

    >>> from spikeloom.learning import TrainingRule
    >>> str(rule_of("bptt", TrainingRule))
    'bptt'
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        file, _, name = value.rpartition(":")
        if file:
            _run_file(file)
        names = rules_of(kind)
        return names[checks.choice("rule", name, names)]()
    raise TypeError(f"rule must be a name or a rule, got {value!r}; write {kind.usage}")


def _run_file(name: str) -> None:
    """Run a Python file once, as an importable module, so that its rules can be pickled."""
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise ValueError(
            f'rule must be a name or "FILE.py:NAME", got the file {name!r}, which does not exist'
        )
    known = any(getattr(m, "__file__", None) == str(path) for m in list(sys.modules.values()))
    if known:
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or path.stem in sys.modules:
        raise ValueError(
            f"rule cannot be read from {name!r}; give it a name of its own that ends with .py"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
