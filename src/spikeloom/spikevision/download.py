"""Downloads that are verified, resumed after an interruption, and never incomplete.

A file is written under its name with ``.part`` appended, checked against its MD5 sum and renamed.
An interrupted download keeps its part, and the next attempt resumes there if the server supports
it.
"""

import hashlib
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from ..files import locked

__all__ = ["Archive", "fetch", "find_or_fetch", "md5_of", "unpack"]

PIECE = 1 << 20


class Archive(NamedTuple):
    """A published file.

    Attributes:
        name: its name in the data folder.
        url: its address.
        md5: its checksum, in hexadecimal digits.
        page: web page for a manual download.
    """

    name: str
    url: str
    md5: str
    page: str


def md5_of(path: Path) -> str:
    """MD5 sum of a file, in hexadecimal digits.

    >>> _ = Path("empty").write_bytes(b"")
    >>> md5_of(Path("empty"))
    'd41d8cd98f00b204e9800998ecf8427e'
    """
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def find_or_fetch(archive: Archive, folder: Path, also: Sequence[str] = ()) -> Path:
    """Returns the file of ``archive`` in ``folder``, and downloads it if it is missing.

    Args:
        archive: the file.
        folder: where to find or store it.
        also: other names under which the file may be in the folder.

    Raises:
        ConnectionError: it is missing and cannot be downloaded.
        ValueError: the file in the folder has another checksum.
    """
    for name in (archive.name, *also):
        path = folder / name
        if path.is_file():
            found = md5_of(path)
            if found != archive.md5:
                raise ValueError(
                    f"{path} must have the MD5 sum {archive.md5}, got {found}; delete it and get "
                    f"it again, by itself or from {archive.page}"
                )
            return path
    return fetch(archive, folder)


def fetch(archive: Archive, folder: Path, *, timeout: float = 30.0) -> Path:
    """Downloads a file into ``folder``, resuming an earlier attempt.

    If another process downloads the same file, waits for it and uses its file.

    Args:
        archive: the file.
        folder: its destination, created if missing.
        timeout: time in s without an answer after which the server counts as unreachable.

    Returns:
        Path of the complete, verified file.

    Raises:
        ConnectionError: the server cannot be reached or closes the connection. The part received
            so far remains.
        ValueError: the file has another checksum. It is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.name
    with locked(folder / f".{archive.name}.lock", f"{path} is fetched by {{}}", wait=True):
        # Another process has downloaded it while this one waited.
        if path.is_file() and md5_of(path) == archive.md5:
            return path
        return _fetched(archive, folder, timeout)


def _fetched(archive: Archive, folder: Path, timeout: float) -> Path:
    """`fetch` in the one process that may write the part."""
    path = folder / archive.name
    part = folder / f"{archive.name}.part"
    if not (part.is_file() and md5_of(part) == archive.md5):
        try:
            receive(archive.url, part, timeout)
        except (OSError, HTTPException) as error:
            resume = ""
            if part.exists():
                resume = f"the next attempt resumes after {part.stat().st_size} bytes; "
            raise ConnectionError(
                f"{archive.name} must be in {folder} or come from {archive.url}, which failed "
                f"({error}); {resume}without a connection, get it from {archive.page} and put it "
                f"into {folder}"
            ) from error
    found = md5_of(part)
    if found != archive.md5:
        part.unlink()
        raise ValueError(
            f"the download of {archive.name} must have the MD5 sum {archive.md5}, got {found} and "
            f"removed it; get it from {archive.page} and put it into {folder}"
        )
    os.replace(part, path)
    return path


def receive(url: str, part: Path, timeout: float) -> None:
    """Appends the rest of ``url`` to ``part``, or rewrites it if the server sends no ranges."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "spikeloom"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # 416 is "range not satisfiable": the part is not the beginning of this file.
        if not have or error.code != 416:
            raise
        error.close()
        part.unlink()
        return receive(url, part, timeout)
    with response:
        expected = response.headers.get("Content-Length")
        with open(part, "ab" if response.status == 206 else "wb") as file:
            before = file.tell()
            while piece := response.read(PIECE):
                file.write(piece)
            got = file.tell() - before
    if expected is not None and got < int(expected):
        raise ConnectionError(f"the server closed the connection at {got} of {expected} bytes")


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpacks files and folders below ``folder``.

    Python has a filter for that since 3.10.12 and 3.11.4; for earlier versions, members that are
    neither files nor folders are refused here.

    Raises:
        ValueError: a path is outside the folder, or a member is a link or a device.
    """
    if hasattr(tarfile, "data_filter"):
        try:
            archive.extractall(folder, filter="data")
        except tarfile.FilterError as error:
            raise ValueError(
                f"{archive.name} must hold only files and folders, got {error}; get it again"
            ) from error
        return
    for member in archive.getmembers():
        target = os.path.realpath(folder / member.name)
        inside = os.path.commonpath([target, os.path.realpath(folder)]) == os.path.realpath(folder)
        if not inside or not (member.isreg() or member.isdir()):
            raise ValueError(
                f"{archive.name} must hold only files and folders, got {member.name!r}; get it "
                "again"
            )
    archive.extractall(folder)
