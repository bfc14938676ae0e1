"""A single error for damaged files, and one for absent ones.

zipfile, zlib, gzip, NumPy, h5py and Pillow raise a dozen kinds of errors for a truncated or altered
file, most of them without its path.
"""

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from ..core.numbers import path_of

__all__ = ["damage_named", "file_of"]

PARSERS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
# Numbers of an OSError that damaged contents cause, such as a seek to a negative position. Others,
# such as a missing permission or a full disk, are about the machine and are not converted.
CONTENTS = (None, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW)


@contextmanager
def damage_named(path: "str | PathLike[str]", rule: str, remedy: str) -> Iterator[None]:
    """Converts any error of a parser inside the block to ValueError with the path.

    Args:
        path: the file.
        rule: the rule in the message, after "must be".
        remedy: the remedy in the message.

    Raises:
        ValueError: a parser failed. Errors of the machine, such as a missing permission, are not
            converted.

    >>> with damage_named("a.npz", "an npz file", "get it again"):
    ...     raise EOFError("it ends")
    Traceback (most recent call last):
    ValueError: a.npz must be an npz file, got a damaged or different one (it ends); get it again
    """
    try:
        yield
    except OSError as error:
        if error.errno not in CONTENTS:
            raise
        raise _error(path, rule, remedy, error) from error
    except PARSERS as error:
        raise _error(path, rule, remedy, error) from error


def file_of(name: str, value: Any, rule: str, remedy: str) -> Path:
    """Returns the path of an existing file.

    Args:
        name: of the argument.
        value: what the user passed.
        rule: the rule in the message, after "must be".
        remedy: the remedy in the message.

    Raises:
        TypeError: ``value`` is no path.
        FileNotFoundError: there is no such file.
        ValueError: it is a folder.

    >>> file_of("path", "absent.npz", "an npz file", "write its path")
    Traceback (most recent call last):
    FileNotFoundError: path must be an npz file, and there is no absent.npz; write its path
    """
    path = path_of(name, value)
    if path.is_dir():
        raise ValueError(
            f"{name} must be {rule}, got the folder {path}; write the name of a file in it"
        )
    if not path.exists():
        raise FileNotFoundError(f"{name} must be {rule}, and there is no {path}; {remedy}")
    return path


def _error(path: "str | PathLike[str]", rule: str, remedy: str, error: BaseException) -> ValueError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ValueError(f"{path} must be {rule}, got a damaged or different one ({reason}); {remedy}")
