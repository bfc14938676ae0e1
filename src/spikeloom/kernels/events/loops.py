"""Loops over events, as plain functions that numba compiles; all memory is flat.

A mask holds which of 64 elements of a row are not zero, one bit for each, the lowest first. Columns
of a product are summed in parts of equal width; the last two may overlap.
"""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..sources import compiled_function

if TYPE_CHECKING:
    from ..vectors import add_scaled, lowest, nonzero, number, ones, pointer, sum_rows

__all__ = ["ROWS", "WHOLE", "gradient", "product", "run"]

WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16)  # dtypes in which spikes are stored
ROWS = 1024  # rows at a time, whose gradients stay in the cache
BUCKET = ROWS + 32  # rows of a column; columns at multiples of 4,096 bytes would share cache lines
WIDTH = 1  # columns of a part; a constant of the compiled text
real: Any = np.float32  # dtype of the weight; a constant of the compiled text


def product(x, masks, graded, table, bias, y, total, inputs, outputs, packed, marked, start, stop):
    """Write rows ``start`` to ``stop`` of the product and of the masks.

    Args:
        x: input, [rows, inputs]; not read if ``marked``.
        masks: receives which elements are not zero, [rows, words], or has it if ``marked``.
        graded: receives 1 if an element is neither 0 nor 1.
        table: transposed weight, [inputs, outputs], or ``packed``: [parts, inputs, WIDTH].
        bias: [outputs].
        y: receives the product, [rows, outputs].
        total: elements of ``x``.
        inputs: elements of a row.
        outputs: columns of the weight.
        packed: see ``table``.
        marked: see ``masks``.
        start: first row.
        stop: the row behind the last.
    """
    parts = (outputs + WIDTH - 1) // WIDTH
    rows = stop - start
    ptr = np.zeros(rows + 1, dtype=np.int64)
    mixed = np.uint64(0)
    if marked:
        count(masks, ptr, inputs, start)
    else:
        mixed = mark(x, masks, ptr, total, inputs, start)
    idx = np.empty(ptr[rows] + 4, dtype=np.uint32)
    enumerate_rows(masks, ptr, idx, inputs, start)
    values = np.empty(ptr[rows] if mixed else 0, dtype=real)
    if mixed:
        graded[0] = 1
        for r in range(rows):
            for p in range(ptr[r], ptr[r + 1]):
                values[p] = x[(start + r) * inputs + idx[p]]
    # a part of a copy is read for all rows; in place, a row of the table is read as a whole
    outer, inner = (parts, rows) if packed else (rows, parts)
    for i in range(outer):
        for j in range(inner):
            part, r = (i, j) if packed else (j, i)
            c = min(part * WIDTH, outputs - WIDTH)
            place = part * inputs * WIDTH if packed else c
            stride = WIDTH if packed else outputs
            out = (y, (start + r) * outputs + c)
            span = (ptr[r], ptr[r + 1])
            sum_rows(WIDTH, out, (bias, c), (table, place, stride), idx, values, span)


def mark(x, masks, ptr, total, inputs, start):
    """Write the masks of rows from ``start`` on, and where the entries of each begin to ``ptr``.

    Returns bits that are set if an element is neither 0 nor 1.
    """
    words = (inputs + 63) // 64
    mixed = np.uint64(0)
    n = 0
    for r in range(len(ptr) - 1):
        for w in range(words):
            at = (start + r) * inputs + 64 * w
            mask, other = word(x, at, min(64, inputs - 64 * w), total)
            masks[(start + r) * words + w] = mask
            mixed |= other
            n += number(mask)
        ptr[r + 1] = n
    return mixed


def word(x, at, size, total):
    """Return which of up to 64 elements from ``at`` on are not zero, and which of them are not 1.

    ``total`` is the number of elements of ``x``.
    """
    if at + 64 <= total:
        mask = nonzero(x, at) & (~np.uint64(0) >> np.uint64(64 - size))
        return mask, mask & ~ones(x, at)
    mask = np.uint64(0)  # a vector would end behind the memory
    other = np.uint64(0)
    for j in range(size):
        bit = np.uint64(x[at + j] != 0) << np.uint64(j)
        mask |= bit
        other |= np.uint64(0) if x[at + j] == 1 else bit
    return mask, other


def count(masks, ptr, inputs, start):
    """Write where the entries of each row from ``start`` on begin to ``ptr``."""
    words = (inputs + 63) // 64
    n = 0
    for r in range(len(ptr) - 1):
        for w in range(words):
            n += number(masks[(start + r) * words + w])
        ptr[r + 1] = n


def enumerate_rows(masks, ptr, idx, inputs, start):
    """Write the columns of entries from row ``start`` on to ``idx``, and up to four numbers."""
    words = (inputs + 63) // 64
    for r in range(len(ptr) - 1):
        p = ptr[r]
        for w in range(words):
            mask = masks[(start + r) * words + w]
            following = p + number(mask)
            while p < following:
                for j in range(4):  # without a branch, which spikes would make unpredictable
                    idx[p + j] = 64 * w + lowest(mask)
                    mask &= mask - np.uint64(1)
                p += 4
            p = following


def gradient(x, masks, grad, dw, db, rows, inputs, outputs, graded, biased, word, end, begin, stop):
    """Write the gradient of the weight for the inputs of the masks' words ``word`` to ``end``.

    Args:
        x: input, [rows, inputs]; read if it is graded.
        masks: which elements are not zero, [rows, words].
        grad: gradient of the product, [rows, outputs].
        dw: receives the sums, [parts, inputs, WIDTH].
        db: receives the sum of the gradient, [parts, WIDTH], if ``biased``.
        rows: number of rows.
        inputs: elements of a row.
        outputs: columns of the weight.
        graded: an element is neither 0 nor 1.
        biased: see ``db``.
        word: first word.
        end: the word behind the last.
        begin: first part.
        stop: the part behind the last.
    """
    parts = (outputs + WIDTH - 1) // WIDTH
    end = min(end, (inputs + 63) // 64)
    columns = 65 * (end - word)  # 64 of each word, and one for what follows its last entry
    listed = np.empty(columns * BUCKET, dtype=np.uint16)  # rows of each column
    counts = np.empty(columns, dtype=np.int64)
    values = np.empty(len(listed) if graded else 0, dtype=real)
    nothing = np.zeros(WIDTH, dtype=real)
    every = np.arange(ROWS).astype(np.uint16)
    copied = np.empty(ROWS * WIDTH if parts > 1 else 0, dtype=real)
    for first in range(0, max(1, rows), ROWS):
        height = min(ROWS, rows - first)
        list_columns(masks, listed, counts, inputs, (first, height), word, end)
        if graded:
            for k in range(64 * word, min(64 * end, inputs)):
                column = k + k // 64 - 65 * word
                for p in range(column * BUCKET, column * BUCKET + counts[column]):
                    values[p] = x[(first + listed[p]) * inputs + k]
        for part in range(begin, stop):
            c = min(part * WIDTH, outputs - WIDTH)
            table = (grad, first * outputs, outputs)
            if parts > 1:
                for r in range(height):
                    for j in range(WIDTH):
                        copied[r * WIDTH + j] = grad[(first + r) * outputs + c + j]
                table = (pointer(copied), 0, WIDTH)
            for k in range(64 * word, min(64 * end, inputs)):
                column = k + k // 64 - 65 * word
                out = (dw, (part * inputs + k) * WIDTH)
                span = (column * BUCKET, column * BUCKET + counts[column])
                base = (pointer(nothing), 0) if first == 0 else out
                sum_rows(WIDTH, out, base, table, listed, values, span)
            if biased and word == 0:
                out = (db, part * WIDTH)
                base = (pointer(nothing), 0) if first == 0 else out
                sum_rows(WIDTH, out, base, table, every, nothing[:0], (0, height))


def list_columns(masks, listed, counts, inputs, rows, word, end):
    """Write for each column which rows have an entry, and how many; 65 columns for each word.

    ``rows`` are the first one and their number.
    """
    words = (inputs + 63) // 64
    counts[:] = 0
    for w in range(word, end):
        base = 65 * (w - word)
        for r in range(rows[1]):
            mask = masks[(rows[0] + r) * words + w]
            while mask:
                for _ in range(4):  # without a branch; what follows the last entry is column 64
                    column = base + lowest(mask)
                    listed[column * BUCKET + counts[column]] = r
                    counts[column] += 1
                    mask &= mask - np.uint64(1)
            counts[base + 64] = 0


def windows(
    x, masks, graded, images, height, width, channels, kh, kw, sy, sx, py, px, oh, ow, start, stop
):
    """Write which elements of the windows of images ``start`` to ``stop`` are not zero.

    Args:
        x: images, [images, height, width, channels].
        masks: receives a row for each window, [images, oh, ow, words]; columns are [kh, kw,
            channels].
        graded: receives 1 if an element is neither 0 nor 1; the rest is not written then.
        images: their number.
        height: of an image.
        width: of an image.
        channels: of an image.
        kh: height of a window.
        kw: width of a window.
        sy: vertical distance of two windows.
        sx: horizontal distance of two windows.
        py: rows of zeros above and below an image.
        px: columns of zeros on its left and right.
        oh: windows along the height.
        ow: windows along the width.
        start: first image.
        stop: the image behind the last.
    """
    row = width * channels
    before = (px * channels + 63) // 64  # words of zeros on the left
    size = before + (row + px * channels) // 64 + 2
    bits = np.zeros(height * size, dtype=np.uint64)
    wide = kw * channels
    words = (kh * wide + 63) // 64
    total = images * height * row
    mixed = np.uint64(0)
    for m in range(start, stop):
        for y in range(height):
            for w in range((row + 63) // 64):
                at = (m * height + y) * row + 64 * w
                mask, other = word(x, at, min(64, row - 64 * w), total)
                bits[y * size + before + w] = mask
                mixed |= other
        if mixed:
            graded[0] = 1
            return
        for oy in range(oh):
            first = max(0, py - oy * sy)
            last = min(kh, height + py - oy * sy)
            for ox in range(ow):
                out = ((m * oh + oy) * ow + ox) * words
                for w in range(words):
                    masks[out + w] = 0
                for ky in range(first, last):
                    line = ((oy * sy - py + ky) * size + before) * 64
                    copy_bits(
                        bits, line + (ox * sx - px) * channels, masks, 64 * out + ky * wide, wide
                    )


def copy_bits(source, at, target, to, size):
    """Copy bits of numbers of 64 bits to a place that has zeros."""
    while size > 0:
        shift = np.uint64(at & 63)
        back = np.uint64(63) - shift
        bits = source[at >> 6] >> shift | (source[(at >> 6) + 1] << np.uint64(1)) << back
        taken = min(size, 64)
        bits &= ~np.uint64(0) >> np.uint64(64 - taken)
        shift = np.uint64(to & 63)
        target[to >> 6] |= bits << shift
        if (to & 63) + taken > 64:
            target[(to >> 6) + 1] |= (bits >> np.uint64(1)) >> (np.uint64(63) - shift)
        at += taken
        to += taken
        size -= taken


def winners(
    positions,
    grad,
    other,
    out,
    height,
    width,
    channels,
    kh,
    sy,
    sx,
    ow,
    outputs,
    cells,
    of_images,
    start,
    stop,
    begin,
    end,
):
    """Add the gradients of images, or of filters, that come through a max pooling of a convolution.

    Each gradient of the pooling belongs to one window, whose lines of WIDTH elements are added.

    Args:
        positions: of the largest in each cell of the pooling, among the windows of an image,
            [images, cells, outputs].
        grad: gradient of the pooling, [images, cells, outputs].
        other: filters [outputs, kh, WIDTH] if ``of_images``, else images.
        out: receives the sums, images [images, height, width, channels] if ``of_images``, else
            filters.
        height: of an image, padding included.
        width: of an image, padding included.
        channels: of an image.
        kh: height of a window.
        sy: vertical distance of two windows.
        sx: horizontal distance of two windows.
        ow: windows along the width.
        outputs: number of filters.
        cells: of the pooling, in an image.
        of_images: see ``out``.
        start: first image.
        stop: the image behind the last.
        begin: first filter.
        end: the filter behind the last.
    """
    row = width * channels
    to_step, of_step = (row, WIDTH) if of_images else (WIDTH, row)
    for m in range(start, stop):
        for n in range(begin, end):
            for q in range(cells):
                at = (m * cells + q) * outputs + n
                g = grad[at]
                if g != 0:
                    y = np.int32(positions[at]) // np.int32(ow)
                    x = positions[at] - y * ow
                    image = (m * height + y * sy) * row + x * sx * channels
                    line = n * kh * WIDTH
                    to, of = (image, line) if of_images else (line, image)
                    for _ in range(kh):
                        add_scaled(WIDTH, (out, to), (other, of), g)
                        to += to_step
                        of += of_step


# X: the input's numbers, R: the weight's, M: masks, F: a flag; then how many numbers follow
_ARGUMENTS = {
    "product": ("XMFRRR", 7),
    "gradient": ("XMRRR", 9),
    "windows": ("XMF", 14),
    "winners": ("XRRR", 14),
}
_HELPERS = (word, mark, count, enumerate_rows, list_columns, copy_bits)
_TEXT = """
import numba
import numpy as np
from spikeloom.kernels.vectors import add_scaled, lowest, nonzero, number, ones, pointer, sum_rows
ROWS, BUCKET, WIDTH, real = {ROWS}, {BUCKET}, {width}, np.{real}
# {vectors}
{helpers}
{loop}"""
_TYPES = {
    torch.bool: "uint8",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.float32: "float32",
    torch.float64: "float64",
}


def run(
    name: str, width: int, dtypes: tuple[torch.dtype, torch.dtype], tensors: Any, *numbers: int
) -> None:
    """Run a loop; it releases the GIL.

    Args:
        name: of a function of this module.
        width: columns of a part.
        dtypes: of the input and of the weight.
        tensors: contiguous.
        numbers: the arguments that follow.
    """
    addresses = (tensor.data_ptr() for tensor in tensors)
    _compiled(name, width, *dtypes)(*addresses, *numbers)


@cache
def _compiled(
    name: str, width: int, given: torch.dtype, weight: torch.dtype
) -> Callable[..., None]:
    from numba import types

    from .. import vectors

    kinds = {
        "X": getattr(types, _TYPES[given]),
        "R": getattr(types, _TYPES[weight]),
        "M": types.uint64,
        "F": types.uint8,
    }
    letters, numbers = _ARGUMENTS[name]
    helpers = (f"@numba.njit\n{inspect.getsource(f)}" for f in _HELPERS)
    # the text must change with the operations that it calls
    stamp = hashlib.sha256(inspect.getsource(vectors).encode()).hexdigest()
    text = _TEXT.format(
        ROWS=ROWS,
        BUCKET=BUCKET,
        width=width,
        real=_TYPES[weight],
        vectors=stamp,
        helpers="\n\n".join(helpers),
        loop=inspect.getsource(globals()[name]),
    )
    signature = [types.CPointer(kinds[letter]) for letter in letters] + [types.int64] * numbers
    return compiled_function(text, name, tuple(signature))
