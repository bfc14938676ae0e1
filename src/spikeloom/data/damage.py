"""One error for a damaged file, whatever the parser of its format raises.

zipfile, zlib, gzip, NumPy, h5py and Pillow raise a dozen kinds of errors about a truncated or
altered file, most of them without its path.
"""

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

__all__ = ["damage_named"]

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
# Numbers of an OSError that damaged contents cause, such as a seek to a negative place. The others,
# such as a missing permission or a full disk, are about the machine and pass as they are.
CONTENTS = (None, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW)


@contextmanager
def damage_named(path: "str | PathLike[str]", rule: str, remedy: str) -> Iterator[None]:
    """Raise ValueError with the path for any error of a parser inside the block.

    Args:
        path: the file.
        rule: what it must be, after "must be".
        remedy: what to do about it.

    Raises:
        ValueError: a parser failed. Errors of the machine, such as a missing permission, pass.

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


def _error(path: "str | PathLike[str]", rule: str, remedy: str, error: BaseException) -> ValueError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ValueError(f"{path} must be {rule}, got a damaged or different one ({reason}); {remedy}")
