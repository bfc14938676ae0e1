"""What the loops over events do with vectors: functions that stand in LLVM's language in what numba compiles.

Here they say in Python what they mean. ``TEXT`` defines them for numba, which would not vectorise them by itself: a sum
that stays in registers while the rows that are added to it change, and one bit for each element of a vector.
"""

from typing import Any

__all__ = ["TEXT", "add_rows", "lowest", "mask_of"]

AHEAD = 16  # entries that lie between the row that is added and the one that is fetched


def mask_of(x: Any, start: int) -> int:
    """Which of the 64 elements of ``x`` from ``start`` on are not zero, one bit each.

    >>> mask_of([0.0] * 3 + [1.0, -0.0, 2.0] + [0.0] * 58, 0)
    40
    """
    return sum((x[start + k] != 0) << k for k in range(64))


def lowest(mask: int) -> int:
    """The number of the lowest bit that is set.

    >>> lowest(40)
    3
    """
    return (mask & -mask).bit_length() - 1


def add_rows(
    width: int, out: Any, place: int, table: Any, j: int, columns: int, idx: Any, values: Any, span: Any, end: int
) -> None:
    """Add ``values[0]`` times the rows of ``table`` that are listed in the ``span`` of ``idx`` to ``out[place:]``.

    ``width`` elements of them, from ``j`` on; the table is [K * columns], row after row. Rows that are listed after the
    span, up to ``end``, are fetched ahead.

    >>> out = [0.0, 0.0, 0.0]
    >>> add_rows(2, out, 1, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, 3, [0, 1], [10.0], (0, 2), 2); out
    [0.0, 70.0, 90.0]
    """
    first, last = span
    for c in range(width):
        out[place + c] += values[0] * sum(table[k * columns + j + c] for k in idx[first:last])


TEXT = f"""
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

def data_of(context, builder, signature, arguments, n):
    kind = signature.args[n]
    if isinstance(kind, types.CPointer):
        return arguments[n], kind.dtype
    return context.make_array(kind)(context, builder, arguments[n]).data, kind.dtype

@intrinsic
def mask_of(typing, x, start):
    def code(context, builder, signature, given):
        data, kind = data_of(context, builder, signature, given, 0)
        vector = ir.VectorType(context.get_data_type(kind), 64)
        place = builder.bitcast(builder.gep(data, [given[1]]), vector.as_pointer())
        loaded = builder.load(place, align=kind.bitwidth // 8)
        some = builder.fcmp_unordered("!=", loaded, ir.Constant(vector, [0.0] * 64))
        return builder.bitcast(some, ir.IntType(64))
    return types.int64(x, types.intp), code

@intrinsic
def lowest(typing, mask):
    def code(context, builder, signature, given):
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 1))
    return types.int64(types.int64), code

@intrinsic(prefer_literal=True)
def add_rows(typing, width, out, place, table, j, columns, idx, values, span, end):
    number = width.literal_value
    def code(context, builder, signature, given):
        (sums, kind), (rows, _), (listed, _), (factors, _) = (
            data_of(context, builder, signature, given, n) for n in (1, 3, 6, 7)
        )
        place, j, columns, span, end = (given[n] for n in (2, 4, 5, 8, 9))
        first, last = (builder.extract_value(span, n) for n in range(2))
        vector, size = ir.VectorType(context.get_data_type(kind), number), kind.bitwidth // 8
        whole, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        kinds = ir.FunctionType(ir.VoidType(), [byte, *[ir.IntType(32)] * 3])
        fetch = cgutils.get_or_insert_function(builder.module, kinds, "llvm.prefetch.p0")
        most = builder.sub(end, whole(1))

        def row(p):
            k = builder.sext(builder.load(builder.gep(listed, [p])), whole)
            return builder.gep(rows, [builder.add(builder.mul(k, columns), j)])

        target = builder.bitcast(builder.gep(sums, [place]), vector.as_pointer())
        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * number), total)
        with cgutils.for_range_slice(builder, first, last, whole(1)) as (p, _):
            later = builder.add(p, whole({AHEAD}))
            ahead = row(builder.select(builder.icmp_signed("<", later, most), later, most))
            for offset in range(0, number * size, 64):
                address = builder.gep(builder.bitcast(ahead, byte), [whole(offset)])
                builder.call(fetch, [address, *(ir.IntType(32)(n) for n in (0, 3, 1))])  # read, all caches, data
            added = builder.load(builder.bitcast(row(p), vector.as_pointer()), align=size)
            builder.store(builder.fadd(builder.load(total), added), total)
        factor = builder.load(factors)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), number), [0] * number)
        product = builder.fmul(builder.shuffle_vector(one, one, zeros), builder.load(total))
        builder.store(builder.fadd(builder.load(target, align=size), product), target, align=size)
        return context.get_dummy_value()
    whole = types.intp
    pair = types.UniTuple(whole, 2)
    return types.void(width, out, whole, table, whole, whole, idx, values, pair, whole), code
"""
