"""Text in columns."""

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows of equal length as lines with columns two spaces apart.

    Args:
        rows: texts, the head included.
        left: columns that begin together; the others end together.

    >>> aligned([["a", "1"], ["bb", "22"]])
    ['a    1', 'bb  22']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, strict=True)
        texts = [
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(cells)
        ]
        lines.append("  ".join(texts).rstrip())
    return lines
