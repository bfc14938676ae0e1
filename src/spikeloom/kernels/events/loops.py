"""The loops over events, as plain functions on arrays that numba compiles; see `spikeloom.kernels.events.compiled`.

``ptr`` and ``idx`` list, for each row of a matrix, the columns that are not zero: those of row ``r`` are
``idx[ptr[r] : ptr[r + 1]]``, ascending. The value of entry ``p`` is ``values[p & mask]``: ``mask`` is -1 where each
entry has its own, and 0 where all share ``values[0]``.
"""

import numpy as np

from .vectors import add_rows, lowest, mask_of

__all__ = ["columns", "find", "find_bits", "gather", "gather_few", "patches", "product_few", "set_bits", "turn"]


def find(x, ptr, idx, values, rows, width, limit):
    """List what is not zero in ``x`` [R * K]: the matrix [R, K], row after row.

    Returns how many there are and whether they differ from ``values[0]``, the first one; -1 if they exceed ``limit``.
    ``idx`` holds ``limit + K`` entries.
    """
    p = 0
    done = width // 64 * 64
    common, differ = x[0], 0
    for r in range(rows):
        ptr[r] = p
        row = r * width
        for start in range(0, done, 64):
            mask = mask_of(x, row + start)
            while mask:
                idx[p] = start + lowest(mask)
                p += 1
                mask &= mask - 1
        for k in range(done, width):
            idx[p] = k
            p += x[row + k] != 0  # faster than a branch, which spikes make unpredictable
        if p > limit:
            return -1, 0
        if ptr[r] == 0 and p > 0:
            common = x[row + idx[0]]
        for q in range(ptr[r], p):
            differ |= x[row + idx[q]] != common
    ptr[rows] = p
    values[0] = common
    return p, differ


def find_bits(bits, ptr, idx):
    """List the set bits of each row of ``bits`` [R, K / 8], the least significant first."""
    p = 0
    for r in range(bits.shape[0]):
        ptr[r] = p
        for b in range(bits.shape[1]):
            octet = bits[r, b]
            if octet:
                for k in range(8):
                    if (octet >> k) & 1:
                        idx[p] = 8 * b + k
                        p += 1
    ptr[bits.shape[0]] = p


def set_bits(ptr, idx, bits):
    """Set the listed bits of ``bits`` [R, K / 8], all zero before."""
    for r in range(bits.shape[0]):
        for p in range(ptr[r], ptr[r + 1]):
            bits[r, idx[p] >> 3] |= np.uint8(1 << (idx[p] & 7))


def columns(ptr, idx, values, mask, column_ptr, row, column_values):
    """The same entries listed by column: ``row`` are the rows of each column, ascending."""
    for p in range(idx.size):
        column_ptr[idx[p] + 1] += 1
    for k in range(column_ptr.size - 1):
        column_ptr[k + 1] += column_ptr[k]
    place = column_ptr[:-1].copy()
    for r in range(ptr.size - 1):
        for p in range(ptr[r], ptr[r + 1]):
            q = place[idx[p]]
            place[idx[p]] = q + 1
            row[q] = r
            if mask:
                column_values[q] = values[p]


def gather_few(ptr, idx, values, table, out, rows, columns):
    """As `gather` for entries that share ``values[0]``, faster for few rows of ``out``; matrices row after row.

    Sums stay in registers, as many columns at a time as fit in them.
    """
    j = 0
    while j + 64 <= columns:
        for r in range(rows):
            add_rows(64, out, r * columns + j, table, j, columns, idx, values, (ptr[r], ptr[r + 1]), ptr[rows])
        j += 64
    while j + 32 <= columns:
        for r in range(rows):
            add_rows(32, out, r * columns + j, table, j, columns, idx, values, (ptr[r], ptr[r + 1]), ptr[rows])
        j += 32
    while j + 8 <= columns:
        for r in range(rows):
            add_rows(8, out, r * columns + j, table, j, columns, idx, values, (ptr[r], ptr[r + 1]), ptr[rows])
        j += 8
    if j < columns:
        for r in range(rows):
            for p in range(ptr[r], ptr[r + 1]):
                for c in range(j, columns):
                    out[r * columns + c] += values[0] * table[idx[p] * columns + c]


def gather(ptr, idx, values, mask, table, out, height, start, stop):
    """Add ``values * table[idx]`` to the rows ``start`` to ``stop`` of ``out``.

    The table is taken in blocks of ``height`` rows, which stay in the cache while all of ``out`` uses them.
    """
    begin, end = ptr[start:stop].copy(), ptr[start:stop].copy()
    for k1 in range(height, table.shape[0] + height, height):
        for r in range(start, stop):
            p, last = end[r - start], ptr[r + 1]
            begin[r - start] = p
            if k1 < table.shape[0]:
                while p < last and idx[p] < k1:
                    p += 1
                last = p
            end[r - start] = last
        for r in range(start, stop):
            y, p, last = out[r], begin[r - start], end[r - start]
            while p + 4 <= last:  # four at once: the sum is loaded and stored a quarter as often
                a, b, c, d = table[idx[p]], table[idx[p + 1]], table[idx[p + 2]], table[idx[p + 3]]
                s, t, u, v = values[p & mask], values[p + 1 & mask], values[p + 2 & mask], values[p + 3 & mask]
                for j in range(y.size):
                    y[j] += (s * a[j] + t * b[j]) + (u * c[j] + v * d[j])
                p += 4
            while p < last:
                a, s = table[idx[p]], values[p & mask]
                for j in range(y.size):
                    y[j] += s * a[j]
                p += 1


def product_few(x, table, bias, out, ptr, idx, values, told, width, limit, rows, columns):
    """Write ``bias + x @ table`` to ``out`` [R * N] by `find` and `gather_few`; ``told`` is what `find` says.

    Where entries are too many, or differ, ``out`` stays as it was.
    """
    told[0], told[1] = find(x, ptr, idx, values, rows, width, limit)
    if told[0] >= 0 and not told[1]:
        for r in range(rows):
            for j in range(columns):
                out[r * columns + j] = bias[j]
        gather_few(ptr, idx, values, table, out, rows, columns)


def turn(a, b):
    """Copy the transposes of ``a`` [n, P, Q] into ``b``, a few rows at a time, which stay in the first cache."""
    for n in range(a.shape[0]):
        for i0 in range(0, a.shape[1], 64):
            part = a[n, i0 : i0 + 64]
            for j in range(a.shape[2]):
                row = b[n, j, i0 : i0 + 64]
                for i in range(row.size):
                    row[i] = part[i, j]


def patches(ptr, idx, values, mask, geometry, maps, weights, back, start, stop):
    """Let events of images ``start`` to ``stop`` add their patch of the weights to the map; if ``back``, vice versa.

    ``maps`` are [stop - start, OH * OW * O] and ``weights`` [C * kh * kw * (O / groups)] with the last kernel axis
    reversed, because a spike meets the kernel backwards: then neighbours in the map meet neighbours in the kernel.
    """
    channels, height, width, count, rows, cols, kh, kw, sh, sw, ph, pw, dh, dw, groups, last = geometry
    per, inputs = count // groups, channels // groups
    whole = sw == 1 and dw == 1 and groups == 1
    steps = 1 if whole else kw
    for r in range(start, stop):
        board = maps[r - start]
        for p in range(ptr[r], ptr[r + 1]):
            k, v = idx[p], values[p & mask]
            if last:
                c, y, x = k % channels, k // (width * channels), k // channels % width
            else:
                c, y, x = k // (height * width), k // width % height, k % width
            for i in range(kh):
                oy = y + ph - i * dh
                if oy < 0 or oy % sh or oy // sh >= rows:
                    continue
                for j in range(steps):
                    ox = x + pw - (kw - 1 - j) * dw
                    if not whole and (ox < 0 or ox % sw):
                        continue
                    ox //= sw
                    skip, end = max(0, -ox), min(kw if whole else 1, cols - ox)
                    n = (end - skip) * per
                    if n <= 0:
                        continue
                    a = (oy // sh * cols + ox + skip) * count + c // inputs * per
                    b = ((c * kh + i) * kw + j + skip) * per
                    one, two = board[a : a + n], weights[b : b + n]
                    if back:
                        for m in range(n):
                            two[m] += v * one[m]
                    else:
                        for m in range(n):
                            one[m] += v * two[m]
