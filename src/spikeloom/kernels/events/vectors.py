"""What the loops over events do with vectors: functions that stand in LLVM's language in what numba compiles.

Here they say in Python what they mean. ``TEXT`` defines them for numba, which would not vectorise them by itself: a sum
that stays in registers while the rows that are added to it change, and one bit for each element of a vector.
"""

from typing import Any

__all__ = ["TEXT", "add_rows", "lowest", "mask_of"]

AHEAD = 12  # entries that lie between the row that is added and the one that is fetched


def mask_of(row: Any, start: int) -> int:
    """Which of the 64 elements of ``row`` from ``start`` on are not zero, one bit each.

    >>> mask_of([0.0] * 3 + [1.0, -0.0, 2.0] + [0.0] * 58, 0)
    40
    """
    return sum((row[start + k] != 0) << k for k in range(64))


def lowest(mask: int) -> int:
    """The number of the lowest bit that is set.

    >>> lowest(40)
    3
    """
    return (mask & -mask).bit_length() - 1


def add_rows(width: int, y: Any, table: Any, j: int, idx: Any, values: Any, first: int, last: int) -> None:
    """Add ``values[0]`` times the rows of ``table`` that are listed from ``first`` to ``last`` to ``y``.

    To ``width`` elements of it, from ``j`` on.

    >>> y = [0.0, 0.0, 0.0]
    >>> add_rows(2, y, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], 1, [0, 1], [10.0], 0, 2); y
    [0.0, 70.0, 90.0]
    """
    for c in range(j, j + width):
        y[c] += values[0] * sum(table[k][c] for k in idx[first:last])


TEXT = f"""
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

def vector_of(context, builder, signature, arguments, n, width):
    made = context.make_array(signature.args[n])(context, builder, arguments[n])
    return made, ir.VectorType(context.get_data_type(signature.args[n].dtype), width)

def element(builder, made, index):
    return builder.load(builder.gep(made.data, [index]))

@intrinsic
def mask_of(typing, row, start):
    def code(context, builder, signature, given):
        made, vector = vector_of(context, builder, signature, given, 0, 64)
        place = builder.bitcast(builder.gep(made.data, [given[1]]), vector.as_pointer())
        loaded = builder.load(place, align=row.dtype.bitwidth // 8)
        some = builder.fcmp_unordered("!=", loaded, ir.Constant(vector, [0.0] * 64))
        return builder.bitcast(some, ir.IntType(64))
    return types.int64(row, types.intp), code

@intrinsic
def lowest(typing, mask):
    def code(context, builder, signature, given):
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 1))
    return types.int64(types.int64), code

@intrinsic(prefer_literal=True)
def add_rows(typing, width, y, table, j, idx, values, first, last):
    number = width.literal_value
    def code(context, builder, signature, given):
        sums, vector = vector_of(context, builder, signature, given, 1, number)
        rows, _ = vector_of(context, builder, signature, given, 2, number)
        listed, _ = vector_of(context, builder, signature, given, 4, 1)
        factors, _ = vector_of(context, builder, signature, given, 5, 1)
        j, first, last = given[3], given[6], given[7]
        size, whole, byte = y.dtype.bitwidth // 8, ir.IntType(64), ir.IntType(8).as_pointer()
        columns = builder.extract_value(rows.shape, 1)
        end = builder.sub(builder.extract_value(listed.shape, 0), whole(1))
        kinds = ir.FunctionType(ir.VoidType(), [byte, *[ir.IntType(32)] * 3])
        fetch = cgutils.get_or_insert_function(builder.module, kinds, "llvm.prefetch.p0")

        def row(p):
            k = builder.sext(element(builder, listed, p), whole)
            return builder.gep(rows.data, [builder.add(builder.mul(k, columns), j)])

        place = builder.bitcast(builder.gep(sums.data, [j]), vector.as_pointer())
        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * number), total)
        with cgutils.for_range_slice(builder, first, last, whole(1)) as (p, _):
            later = builder.add(p, whole({AHEAD}))
            ahead = row(builder.select(builder.icmp_signed("<", later, end), later, end))
            for offset in range(0, number * size, 64):
                address = builder.gep(builder.bitcast(ahead, byte), [whole(offset)])
                builder.call(fetch, [address, *(ir.IntType(32)(n) for n in (0, 3, 1))])  # read, all caches, data
            added = builder.load(builder.bitcast(row(p), vector.as_pointer()), align=size)
            builder.store(builder.fadd(builder.load(total), added), total)
        factor = element(builder, factors, whole(0))
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), number), [0] * number)
        product = builder.fmul(builder.shuffle_vector(one, one, zeros), builder.load(total))
        builder.store(builder.fadd(builder.load(place, align=size), product), place, align=size)
        return context.get_dummy_value()
    whole = types.intp
    return types.void(width, y, table, whole, idx, values, whole, whole), code
"""
