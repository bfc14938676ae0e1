"""Printing a program as scalar arithmetic: one assignment for each operation, in the order of the trace."""

from typing import Any

import torch

from .program import COMPARISONS, Node, Program, Ref, operation

__all__ = ["Scalars", "unsupported"]

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARE = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "==", "ne": "!="}
_CALL = {
    "neg": "-{0}",
    "reciprocal": "one / {0}",
    "square": "{0} * {0}",
    "abs": "abs({0})",
    "exp": "exp({0})",
    "log": "log({0})",
    "sqrt": "sqrt({0})",
    "sin": "sin({0})",
    "cos": "cos({0})",
    "tanh": "tanh({0})",
    "sigmoid": "one / (one + exp(-{0}))",
    "atan": "atan({0})",
    "erf": "real(erf({0}))",
    "sgn": "(one if {0} > zero else (-one if {0} < zero else zero))",
    "sign": "(one if {0} > zero else (-one if {0} < zero else zero))",
    "maximum": "max({0}, {1})",
    "minimum": "min({0}, {1})",
    "where": "({1} if {0} else {2})",
    "logical_and": "({0} and {1})",
    "logical_or": "({0} or {1})",
    "logical_not": "(not {0})",
    "_to_copy": "(one if {0} else zero)",
}


class Scalars:
    """Prints operations as assignments to scalars."""

    def __init__(self, built: Program, names: dict[int, str]) -> None:
        self.program, self.names = built, dict(names)

    def operand(self, argument: Any) -> str:
        if not isinstance(argument, Ref):
            return f"real({argument!r})"
        value = self.program.nodes[argument.index].value
        return f"real({value!r})" if value is not None else self.names[argument.index]

    def expression(self, node: Node) -> str:
        name, args = operation(node.op), [self.operand(a) for a in node.args if a is not None]
        if name in COMPARISONS:
            test = f"{args[0]} {_COMPARE[name]} {args[1]}"
            return f"({test})" if node.dtype == torch.bool else f"(one if {test} else zero)"
        if name == "clamp":
            low, high = (*node.args[1:], None, None)[:2]
            text = args[0] if low is None else f"max({args[0]}, real({low!r}))"
            return text if high is None else f"min({text}, real({high!r}))"
        if name in _INFIX:
            return f"{args[0]} {_INFIX[name]} {args[1]}"
        return _CALL[name].format(*args)

    def lines(self, order: list[int]) -> list[str]:
        found = []
        for i in order:
            found.append(f"v{i} = {self.expression(self.program.nodes[i])}")
            self.names[i] = f"v{i}"
        return found


def unsupported(built: Program) -> str:
    """Names of the operations of a program that have no form here; empty if there is none."""
    known = {*_INFIX, *_COMPARE, *_CALL, "clamp"}
    missing = {operation(n.op) for n in built.nodes if n.op is not None and operation(n.op) not in known}
    return ", ".join(sorted(missing))
