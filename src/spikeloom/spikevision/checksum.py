"""The header of a cache: a checksum of the rest, verified before libhdf5 reads a byte.

libhdf5 may crash or never return on damaged metadata. HDF5 reserves a user block at the beginning
of a file; here it holds the name of the format, the size of the whole file and the SHA-256 of the
rest.
"""

import hashlib
import re
from pathlib import Path

__all__ = ["BLOCK", "FORMAT", "check", "sign"]

FORMAT = "spikeloom events 2"
BLOCK = 512  # bytes, the smallest user block of HDF5
PIECE = 1 << 20
LINE = re.compile(rb"spikeloom events (\d+) size (\d+) sha256 ([0-9a-f]{64})\n\0*")


def sign(path: Path) -> None:
    """Writes the header of a complete file.

    >>> _ = Path("a").write_bytes(bytes(BLOCK) + b"content")
    >>> sign(Path("a"))
    >>> check(Path("a"))
    """
    size, digest = _digest(path)
    line = f"{FORMAT} size {size} sha256 {digest}\n".encode()
    with open(path, "r+b") as file:
        file.write(line.ljust(BLOCK, b"\0"))


def check(path: Path) -> None:
    """Checks a file against its header.

    Raises:
        ValueError: it has no such header, or its content has changed since it was written.
    """
    with open(path, "rb") as file:
        found = LINE.fullmatch(file.read(BLOCK))
    if found is None:
        raise ValueError(
            f"{path} must be a cache written by {FORMAT}, got another file; move or delete it"
        )
    if f"spikeloom events {found[1].decode()}" != FORMAT:
        raise ValueError(
            f"{path} must be a cache written by {FORMAT}, got version {found[1].decode()}; delete "
            "it"
        )
    size, digest = _digest(path)
    if size != int(found[2]):
        raise ValueError(
            f"{path} must be a cache of {int(found[2])} bytes, got a damaged file of {size}; "
            "delete it"
        )
    if digest != found[3].decode():
        raise ValueError(
            f"{path} must be a cache with the SHA-256 in its first line, got a damaged file; "
            "delete it"
        )


def _digest(path: Path) -> tuple[int, str]:
    """Size of the whole file, and SHA-256 of the content behind the header."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(BLOCK)
        while piece := file.read(PIECE):
            digest.update(piece)
    return path.stat().st_size, digest.hexdigest()
