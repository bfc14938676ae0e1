"""Operations on vectors for loops that numba compiles, where its compiler finds none by itself.

Each is a few lines of LLVM's portable language, which becomes the widest instructions of the
processor at hand. Memory is addressed by pointers, in elements.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import extending, types

__all__ = [
    "add_scaled",
    "lowest",
    "nonzero",
    "number",
    "ones",
    "pointer",
    "sum_rows",
    "width",
]

intrinsic: Any = extending.intrinsic  # which adds the first argument; its callers do not give it
_I64 = ir.IntType(64)
_REGISTERS = 8  # of a sum: half of those of most processors
_LANES = 32  # of a vector in memory that is added to
_PART = 16  # what a part costs besides its columns, in columns


@cache
def width(columns: int, size: int) -> int:
    """Return how many of ``columns`` numbers of ``size`` bytes are summed in registers at a time.

    A power of two, since each width is compiled by itself.

    >>> width(20, 4), width(130, 4)
    (16, 64)
    """
    wide = get_host_cpu_features().get("avx512f", False)
    most = _REGISTERS * (64 if wide else 32) // size
    widths = [2**i for i in range(most.bit_length()) if 2**i <= columns]
    return min(widths, key=lambda w: (-(-columns // w) * (w + _PART), -w), default=0)


def _address(builder: Any, place: Sequence[Any], lanes: int) -> Any:
    """Return the address of the vector at a place, (memory, number of the first element)."""
    memory, at = place
    element = memory.type.pointee
    return builder.bitcast(builder.gep(memory, [at]), ir.VectorType(element, lanes).as_pointer())


def _load(builder: Any, place: Sequence[Any], lanes: int) -> Any:
    return builder.load(_address(builder, place, lanes), align=1)


def _compares(compared: Callable[[Any, Any], Any]) -> Any:
    """Return an intrinsic that compares the 64 elements from a place on, one bit for each."""

    def compares(typingctx: Any, x: Any, at: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(compared(builder, _load(builder, args, 64)), _I64)

        return types.uint64(x, at), codegen

    return intrinsic(compares)


def _not_zero(builder: Any, vector: Any) -> Any:
    zeros = ir.Constant(vector.type, [0] * 64)
    if isinstance(vector.type.element, ir.IntType):
        return builder.icmp_unsigned("!=", vector, zeros)
    return builder.fcmp_unordered("!=", vector, zeros)


def _is_one(builder: Any, vector: Any) -> Any:
    every = ir.Constant(vector.type, [1] * 64)
    if isinstance(vector.type.element, ir.IntType):
        return builder.icmp_unsigned("==", vector, every)
    return builder.fcmp_ordered("==", vector, every)


nonzero = _compares(_not_zero)
ones = _compares(_is_one)


@intrinsic
def number(typingctx: Any, mask: Any) -> Any:
    """Return how many of 64 bits are set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(mask), codegen


@intrinsic
def lowest(typingctx: Any, mask: Any) -> Any:
    """Return the place of the lowest of 64 bits that is set; 64 if none is."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(mask), codegen


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """Return the memory of a contiguous array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic(prefer_literal=True)
def sum_rows(
    typingctx: Any,
    lanes: Any,
    out: Any,
    base: Any,
    table: Any,
    listed: Any,
    factors: Any,
    span: Any,
) -> Any:
    """Write a vector plus the listed rows of a table, added in this order.

    The sum stays in registers.

    Args:
        typingctx: of numba.
        lanes: elements of the vector, a constant.
        out: receives the sum; (memory, place).
        base: first term; (memory, place).
        table: row ``k`` begins at place + k * stride; (memory, place, stride).
        listed: array of numbers of rows.
        factors: array of a factor for each listed row; empty if each is 1.
        span: first place in ``listed``, and the one behind the last.
    """
    count = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def unpacked(i: int) -> list[Any]:
            return [builder.extract_value(args[i], j) for j in range(len(signature.args[i]))]

        memory, place, stride = unpacked(3)
        first, last = unpacked(6)
        rows, scales = (
            context.make_array(signature.args[i])(context, builder, args[i]) for i in (4, 5)
        )
        initial = _load(builder, unpacked(2), count)
        target = _address(builder, unpacked(1), count)

        def add(scaled: bool) -> None:
            start = builder.block
            head, body, done = (builder.append_basic_block(n) for n in ("head", "body", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            p, total = builder.phi(_I64), builder.phi(initial.type)
            builder.cbranch(builder.icmp_signed("<", p, last), body, done)
            builder.position_at_end(body)
            row = builder.zext(builder.load(builder.gep(rows.data, [p])), _I64)
            term = _load(builder, (memory, builder.add(place, builder.mul(row, stride))), count)
            if scaled:
                factor = builder.load(builder.gep(scales.data, [p]))
                term = builder.fmul(term, _repeated(builder, factor, term.type))
            following = builder.add(p, ir.Constant(_I64, 1)), builder.fadd(total, term)
            for phi, begin, value in zip((p, total), (first, initial), following, strict=True):
                phi.add_incoming(begin, start)
                phi.add_incoming(value, body)
            builder.branch(head)
            builder.position_at_end(done)
            builder.store(total, target, align=1)

        empty = builder.icmp_signed("==", scales.nitems, ir.Constant(_I64, 0))
        with builder.if_else(empty) as (plain, graded):
            with plain:
                add(scaled=False)
            with graded:
                add(scaled=True)
        return context.get_dummy_value()

    return types.void(lanes, out, base, table, listed, factors, span), codegen


@intrinsic(prefer_literal=True)
def add_scaled(typingctx: Any, lanes: Any, out: Any, term: Any, factor: Any) -> Any:
    """Add ``factor`` times a vector to another one.

    Args:
        typingctx: of numba.
        lanes: elements of the vectors, a constant.
        out: receives the sum; (memory, place).
        term: (memory, place).
        factor: a number.
    """
    count = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (memory, place), (others, there) = (
            [builder.extract_value(args[i], j) for j in range(2)] for i in (1, 2)
        )
        done = 0
        while done < count:  # more at a time would not fit into the registers
            size = min(_LANES, 1 << (count - done).bit_length() - 1)
            moved = ir.Constant(_I64, done)
            out = memory, builder.add(place, moved)
            term = _load(builder, (others, builder.add(there, moved)), size)
            scaled = builder.fmul(term, _repeated(builder, args[3], term.type))
            total = builder.fadd(_load(builder, out, size), scaled)
            builder.store(total, _address(builder, out, size), align=1)
            done += size
        return context.get_dummy_value()

    return types.void(lanes, out, term, factor), codegen


def _repeated(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector whose elements are all ``value``."""
    one = builder.insert_element(
        ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
    )
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, places)
