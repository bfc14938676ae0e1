"""The arithmetic of generated C: how numbers, constants and operations are spelled."""

import itertools
import math
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..kernels.program import Node, Program, Ref, operation
from ..kernels.scalars import Dialect, Scalars

__all__ = ["DOUBLE", "FLOAT", "INTEGER", "Arithmetic", "CScalars", "untaken"]

COLUMNS = 96


@dataclass(frozen=True)
class Arithmetic:
    """One type of numbers in C.

    Args:
        real: C type of values, states and parameters.
        weight: C type of stored weights.
        dtype: torch type in which the equations are traced.
        suffix: of literals and of the functions of ``math.h``.
    """

    real: str
    weight: str
    dtype: torch.dtype
    suffix: str

    @property
    def whole(self) -> bool:
        """Whether all numbers are integers."""
        return self.real == "int32_t"

    def literal(self, value: float, kind: str = "") -> str:
        """Return the text of a number, exact in this type; ``kind`` is another one, such as int."""
        if self.whole or kind == "int":
            return str(int(value))
        if math.isinf(value):
            return "INFINITY" if value > 0 else "-INFINITY"
        exact = np.float32(value) if self.suffix else np.float64(value)
        return f"{exact!s}{self.suffix}"

    def table(self, name: str, values: Iterable[float], sizes: str, kind: str = "") -> list[str]:
        """Return the lines of a constant array.

        Args:
            name: of the array.
            values: its numbers, row by row.
            sizes: its axes, such as ``"[12]"``.
            kind: C type of its elements; default: ``real``.
        """
        lines = [f"static const {kind or self.real} {name}{sizes} = {{"]
        line = "   "
        for value in values:
            text = self.literal(value, kind)
            if len(line) + len(text) + 2 > COLUMNS:
                lines.append(line)
                line = "   "
            line += f" {text},"
        return [*lines, line, "};"]

    def dialect(self) -> Dialect:
        """Return the spelling of the operations of a neuron's step, each a statement of its own."""
        f = self.suffix
        sign = "{0} > zero ? one : ({0} < zero ? -one : zero)"
        functions = ("exp", "log", "sqrt", "sin", "cos", "tanh", "atan", "erf", "floor")
        calls = {name: f"{name}{f}({{0}})" for name in functions}
        return Dialect(
            number="{0}",
            select="{0} ? {1} : {2}",
            calls={
                **calls,
                "square": "{0} * {0}",
                "neg": "-{0}",
                "reciprocal": "one / {0}",
                "abs": "{0} < zero ? -{0} : {0}",
                "sigmoid": f"one / (one + exp{f}(-{{0}}))",
                "sgn": sign,
                "sign": sign,
                "maximum": "{0} > {1} ? {0} : {1}",
                "minimum": "{0} < {1} ? {0} : {1}",
                "logical_and": "{0} && {1}",
                "logical_or": "{0} || {1}",
                "logical_not": "!{0}",
                "bitwise_and": "{0} && {1}",
                "bitwise_or": "{0} || {1}",
                "bitwise_not": "!{0}",
            },
        )


FLOAT = Arithmetic("float", "float", torch.float32, "f")
DOUBLE = Arithmetic("double", "double", torch.float64, "")
INTEGER = Arithmetic("int32_t", "int8_t", torch.float32, "")


def untaken(name: str, taken: Container[str], mark: str = "_") -> str:
    """Return ``name``, with a number behind it if another value has it.

    >>> untaken("beta", ["beta", "beta_2"])
    'beta_3'
    """
    others = (f"{name}{mark}{number}" for number in itertools.count(2))
    return name if name not in taken else next(other for other in others if other not in taken)


class CScalars(Scalars):
    """Prints the operations of one step as C assignments."""

    def __init__(self, built: Program, names: dict[int, str], arithmetic: Arithmetic) -> None:
        super().__init__(built, names, arithmetic.dialect())
        self.arithmetic = arithmetic

    def number(self, value: float) -> str:
        """Return the literal of a constant."""
        return self.arithmetic.literal(value)

    def expression(self, node: Node) -> str:
        """Return the C expression of an operation."""
        if self.arithmetic.whole and operation(node.op) == "floor":
            return self._shift(node) or self.operand(node.args[0])
        numbers = {"one": self.number(1.0), "zero": self.number(0.0)}
        return re.sub(r"\b(one|zero)\b", lambda word: numbers[word[0]], super().expression(node))

    def _shift(self, node: Node) -> str:
        """Return ``floor(a * 2**-k)`` as an arithmetic shift; empty for other operations."""
        if operation(node.op) != "floor" or not isinstance(node.args[0], Ref):
            return ""
        product = self.program.nodes[node.args[0].index]
        if product.op is None or operation(product.op) != "mul":
            return ""
        for scaled, factor in (product.args, product.args[::-1]):
            value = self._value(factor)
            if value is not None and 0 < value < 1 and math.log2(value).is_integer():
                return f"{self.operand(scaled)} >> {round(-math.log2(value))}"
        return ""

    def _value(self, argument: object) -> float | None:
        if isinstance(argument, Ref):
            return self.program.nodes[argument.index].value
        return float(argument) if isinstance(argument, (int, float)) else None

    def assignments(self, roots: dict[str, int], known: Container[int]) -> list[str]:
        """Return the declarations of everything that results need and that is not known.

        Args:
            roots: the results by their names in C.
            known: what needs no declaration.
        """
        titles = {index: name for name, index in roots.items()}
        ends = list(roots.values())
        order = [i for i in self.program.needed(ends, self.names) if i not in known]
        if self.arithmetic.whole:
            order = self._without_products(order, ends)
        lines: list[str] = []
        for index in order:
            node = self.program.nodes[index]
            same = self._unchanged(node) if self.arithmetic.whole else None
            if same is not None:
                self.names[index] = same
                continue
            kind = "int" if node.dtype == torch.bool else self.arithmetic.real
            name = titles.get(index, f"v{len(lines) + 1}")
            lines.append(f"const {kind} {name} = {self.expression(node)};")
            self.names[index] = name
        return lines

    def _unchanged(self, node: Node) -> str | None:
        """Return the operand that an operation passes on: plus 0, times 1, or floor of integers."""
        name = operation(node.op)
        if name == "floor" and not self._shift(node):
            return self.operand(node.args[0])
        neutral = {"add": 0.0, "sub": 0.0, "mul": 1.0}.get(name)
        if neutral is not None and len(node.args) == 2 and self._value(node.args[1]) == neutral:
            return self.operand(node.args[0])
        return None

    def _without_products(self, order: list[int], roots: list[int]) -> list[int]:
        """Leave out products that only a shift reads."""
        nodes = self.program.nodes
        shifts = [i for i in order if self._names_shift(nodes[i])]
        hidden = {nodes[i].refs[0] for i in shifts}
        read = {r for i in order if i not in shifts for r in nodes[i].refs} | set(roots)
        return [i for i in order if i not in hidden - read]

    def _names_shift(self, node: Node) -> bool:
        known = self.names
        self.names = {i: f"v{i}" for i in range(len(self.program.nodes))}
        found = bool(self._shift(node))
        self.names = known
        return found

    def operand_of(self, root: int) -> str:
        """Return the name or literal of a result."""
        return self.operand(Ref(root))

    @staticmethod
    def reads(name: str, text: str) -> bool:
        """Whether a text contains a name as a word."""
        return re.search(rf"\b{name}\b", text) is not None
