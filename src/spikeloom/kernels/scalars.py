"""Prints a program as scalar arithmetic: one assignment per operation, in the order of the trace.

Languages differ only in the spelling of an operation: a `Dialect` is the table of spellings. All
dialects spell the same operations, and each rounds as torch's own operation does.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..core.transition import Transition
from .program import COMPARISONS, Node, Program, Ref, latest, operation
from .trace import program

__all__ = ["PYTHON", "Dialect", "Scalars", "obstacle", "triton_dialect", "unsupported"]

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMMON = {  # the same spelling in all dialects
    "square": "{0} * {0}",
    "sigmoid_backward": "{0} * (one - {1}) * {1}",
}
_POWERS = {
    1.0: "{0}",
    2.0: "{0} * {0}",
    3.0: "{0} * {0} * {0}",
}  # which torch does not compute by logarithms
_COMPARE = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "==", "ne": "!="}


@dataclass(frozen=True)
class Dialect:
    """The spelling of arithmetic in a language; ``{0}``, ``{1}`` ... are the operands.

    Args:
        number: a constant.
        select: ``{1}`` where ``{0}`` holds, else ``{2}``.
        calls: spelling of operations that are not infix; an entry for an infix operation replaces
            the infix form.
        reciprocals: a division by a constant is a product with its reciprocal, as torch computes it
            on CUDA.
    """

    number: str
    select: str
    calls: Mapping[str, str]
    reciprocals: bool = False


_SIGN = "(one if {0} > zero else (-one if {0} < zero else zero))"
PYTHON = Dialect(
    number="real({0})",
    select="({1} if {0} else {2})",
    calls={
        **_COMMON,
        "neg": "-{0}",
        "reciprocal": "one / {0}",
        "abs": "abs({0})",
        "exp": "exp({0})",
        "log": "log({0})",
        "sqrt": "sqrt({0})",
        "floor": "floor({0})",
        "sin": "sin({0})",
        "cos": "cos({0})",
        "tanh": "tanh({0})",
        "tanh_backward": "{0} * (one - {1} * {1})",
        "sigmoid": "one / (one + exp(-{0}))",
        "atan": "atan({0})",
        "pow": "{0} ** {1}",  # exponents without a product in `_POWERS`, where a caller allows them
        "erf": "real(erf({0}))",
        "sgn": _SIGN,
        "sign": _SIGN,
        "maximum": "max({0}, {1})",
        "minimum": "min({0}, {1})",
        "logical_and": "({0} and {1})",
        "logical_or": "({0} or {1})",
        "logical_not": "(not {0})",
        "bitwise_and": "({0} and {1})",
        "bitwise_or": "({0} or {1})",
        "bitwise_not": "(not {0})",
    },
)


def triton_dialect(dtype: torch.dtype, cuda: bool) -> Dialect:
    """Return Triton's spelling of arithmetic in ``dtype``, float32 or float64, on blocks.

    Triton's own ``/``, ``sqrt`` and ``exp`` are approximations in float32, and its ``-x`` was once
    ``0 - x``. Torch computes the rounded division and square root, and the functions of CUDA's
    libdevice; so does this dialect.

    Args:
        dtype: type of the arithmetic.
        cuda: print what torch computes on CUDA; else what it computes on the CPU, for the
            interpreter.
    """
    single = dtype == torch.float32
    divide = "tl.div_rn({0}, {1})" if single else "{0} / {1}"
    sign = "tl.where({0} > zero, one, tl.where({0} < zero, -one, zero))"
    functions = {
        name: f"libdevice.{name}({{0}})"
        for name in ("exp", "log", "floor", "sin", "cos", "tanh", "atan", "erf")
    }
    if cuda:
        functions["sqrt"] = "tl.sqrt_rn({0})" if single else "tl.sqrt({0})"
        # the one of torch's CUDA operations here in which its compiler contracts a product and a
        # sum
        functions["tanh_backward"] = "{0} * tl.fma({1} * -1.0, {1}, one)"
    else:
        functions |= {
            "sqrt": "libdevice.sqrt({0})",
            "tanh_backward": "libdevice.tanh_backward({0}, {1})",
        }
    return Dialect(
        number=f"tl.full((), {{0}}, tl.{'float32' if single else 'float64'})",
        select="tl.where({0}, {1}, {2})",
        reciprocals=cuda,  # of a constant divisor
        calls={
            **_COMMON,
            **functions,
            "div": divide,
            "neg": "{0} * -1.0",
            "reciprocal": divide.format("one", "{0}"),
            "abs": "tl.abs({0})",
            "sigmoid": divide.format("one", "(one + libdevice.exp({0} * -1.0))"),
            "sgn": sign,
            "sign": sign,
            "maximum": "tl.maximum({0}, {1}, tl.PropagateNan.ALL)",
            "minimum": "tl.minimum({0}, {1}, tl.PropagateNan.ALL)",
            "logical_and": "({0} & {1})",
            "logical_or": "({0} | {1})",
            "logical_not": "({0} == 0)",
            "bitwise_and": "({0} & {1})",
            "bitwise_or": "({0} | {1})",
            "bitwise_not": "({0} == 0)",
        },
    )


class Scalars:
    """Prints operations as assignments to scalars.

    Args:
        built: the program.
        names: names of its inputs.
        dialect: the spelling.
        given: constants are read as ``k0``, ``k1`` ... instead of printed, so that the text does
            not depend on them.
    """

    def __init__(
        self,
        built: Program,
        names: dict[int, str],
        dialect: Dialect = PYTHON,
        *,
        given: bool = False,
    ) -> None:
        self.program = built
        self.names = dict(names)
        self.dialect = dialect
        self.given = given
        self.numbers: list[float] = []  # constants that are read

    def operand(self, argument: Any) -> str:
        if not isinstance(argument, Ref):
            return self.number(argument)
        value = self.program.nodes[argument.index].value
        return self.number(value) if value is not None else self.names[argument.index]

    def number(self, value: float) -> str:
        """Return the text of a constant; infinities and NaN are written as overflows."""
        finite = math.isfinite(value)
        if self.given and finite and abs(value) not in (0.0, 1.0):
            self.numbers.append(value)  # also equal ones, which may differ for another slope
            return f"k{len(self.numbers) - 1}"
        if finite:
            text = repr(value)
        elif math.isnan(value):
            text = "(1e999 * 0.0)"
        else:
            text = "1e999" if value > 0 else "-1e999"
        return self.dialect.number.format(text)

    def expression(self, node: Node) -> str:
        name = operation(node.op)
        args = [self.operand(a) for a in node.args if a is not None]
        calls = self.dialect.calls
        select = self.dialect.select
        if name.startswith("logical"):
            args = [
                a if self.program.nodes[r].dtype == torch.bool else f"({a} != zero)"
                for a, r in zip(args, node.refs, strict=True)
            ]
        if name in COMPARISONS:
            test = f"({args[0]} {_COMPARE[name]} {args[1]})"
            return test if node.dtype == torch.bool else select.format(test, "one", "zero")
        if name == "pow" and (exponent := _exponent(self.program, node)) in _POWERS:
            return _POWERS[exponent].format(args[0])
        if name in ("clamp", "clamp_min", "clamp_max"):
            given = [None, node.args[1]] if name == "clamp_max" else [*node.args[1:], None]
            low, high = given[:2]
            text = args[0] if low is None else calls["maximum"].format(args[0], self.number(low))
            return text if high is None else calls["minimum"].format(text, self.number(high))
        if name == "where":
            return select.format(*args)
        if name == "masked_fill":
            return select.format(args[1], args[2], args[0])
        if name == "threshold_backward":
            return select.format(f"({args[1]} <= {args[2]})", "zero", args[0])
        if name == "relu":
            return calls["maximum"].format(args[0], "zero")
        if name == "_to_copy":
            return (
                f"({args[0]} != zero)"
                if node.dtype == torch.bool
                else select.format(args[0], "one", "zero")
            )
        if (
            name == "div"
            and self.dialect.reciprocals
            and self.program.nodes[node.args[1].index].value is not None
        ):
            return f"{args[0]} * {calls['reciprocal'].format(args[1])}"
        return calls[name].format(*args) if name in calls else f"{args[0]} {_INFIX[name]} {args[1]}"

    def lines(self, order: list[int]) -> list[str]:
        found = []
        for i in order:
            found.append(f"v{i} = {self.expression(self.program.nodes[i])}")
            self.names[i] = f"v{i}"
        return found


@latest
def obstacle(transition: Transition, dtype: torch.dtype) -> str | None:
    """Return which operations of a transition have no scalar form, or None."""
    built = program(transition, dtype)
    missing = unsupported(built) if isinstance(built, Program) else ""
    return f"it has no form for {missing}" if missing else None


def unsupported(built: Program, order: Iterable[int] | None = None, *, powers: bool = False) -> str:
    """Names of the operations of a program that have no form here; empty if there is none.

    Args:
        built: the program.
        order: the operations to look at. Default: all.
        powers: accept every power; its rounding is that of the language, not torch's.
    """
    nodes = built.nodes if order is None else [built.nodes[i] for i in order]
    found = {
        reason
        for node in nodes
        if node.op is not None
        and not (powers and operation(node.op) == "pow")
        and (reason := _obstacle(built, node))
    }
    return ", ".join(sorted(found))


_STRUCTURED = {
    "clamp",
    "clamp_min",
    "clamp_max",
    "where",
    "masked_fill",
    "threshold_backward",
    "relu",
}


def _obstacle(built: Program, node: Node) -> str:
    name = operation(node.op)
    if name == "pow":
        return "" if _exponent(built, node) in _POWERS else "powers other than 1, 2 and 3"
    if name == "_to_copy":  # all arithmetic here is in one type
        mixes = built.nodes[node.refs[0]].dtype != torch.bool != node.dtype
        return f"a cast to {node.dtype}" if mixes else ""
    if name.startswith("bitwise") and node.dtype != torch.bool:
        return f"{name} of numbers"
    return "" if name in {*_INFIX, *_COMPARE, *_STRUCTURED, *PYTHON.calls} else name


def _exponent(built: Program, node: Node) -> float | None:
    base, exponent = node.args
    return built.nodes[exponent.index].value if isinstance(base, Ref) else None
