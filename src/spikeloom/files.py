"""Atomic writes of files, and locks for files and folders."""

import errno
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["atomic", "explained", "locked", "reserved", "swept"]

LOCK = ".lock"
POLL = 0.1  # seconds between two attempts to get a lock
REMEDIES = {
    errno.ENOSPC: "no space left on its disk; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "its file system is read-only; choose another folder",
    errno.EACCES: "permission denied; change the permissions, or choose another folder",
    errno.EPERM: "permission denied; change the permissions, or choose another folder",
    errno.ENOENT: "its folder does not exist and cannot be made; choose another folder",
    errno.ENOTDIR: "a part of its path is a file; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Adds the path, the reason in words, and the remedy to an OSError about ``path``.

    Raises:
        OSError: of the same class and number as the one of the block.

    >>> with explained(Path("run") / "checkpoint.pt"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: run/checkpoint.pt cannot be written: no space left on its disk; free some space
    """
    try:
        yield
    except OSError as error:
        named = error.filename
        ours = (
            named is None
            or str(named).startswith(str(path.parent))
            or str(path).startswith(str(named))
        )
        if error.errno is None or not ours:
            raise
        reason = REMEDIES.get(error.errno, f"{error.strerror}; choose another folder")
        explanation = type(error)(f"{path} cannot be written: {reason}")
        explanation.errno = error.errno
        raise explanation from error


@contextmanager
def atomic(path: Path, before: Callable[[], None] | None = None) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` at the end of the block, unless it raises.

    Args:
        path: the file to write; its folder is created.
        before: called when the temporary file is complete on the disk, before it is renamed.

    Raises:
        OSError: the file cannot be written; the message names the path and the remedy.

    >>> with atomic(Path("note.txt")) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> Path("note.txt").read_text()
    'whole'
    """
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # otherwise the rename may reach the disk before the data
            if before is not None:
                before()
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def swept(folder: Path, stems: Callable[[str], bool]) -> list[Path]:
    """Removes the temporary files that killed processes left in a folder; returns their paths.

    Only the process that holds the lock of the folder may call it: no other writer can then exist.

    Args:
        folder: the folder to search.
        stems: returns whether a file with this stem belongs to the caller.

    >>> _ = Path(".curves-4053.png").write_bytes(b""), Path(".mine-1.png").write_bytes(b"")
    >>> swept(Path(), lambda stem: stem == "curves")
    [PosixPath('.curves-4053.png')]
    """
    gone = []
    for path in sorted(folder.glob(".*")):
        found = re.fullmatch(r"\.(.+)-\d+\.\w+", path.name)
        if found and stems(found[1]) and path.is_file():
            path.unlink(missing_ok=True)
            gone.append(path)
    return gone


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Creates a folder, tests that it is writable, and locks it during the block.

    Folders created here that are empty at the end are removed.

    Raises:
        FileExistsError: another process holds the folder.
        OSError: the folder cannot be created or written.

    >>> with reserved(Path("made/here")):
    ...     Path("made/here").is_dir()
    True
    >>> Path("made").exists()
    False
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{os.getpid()}.tmp"
            try:
                probe.write_bytes(b"x" * 4096)  # an empty file may succeed on a full disk
            finally:
                with suppress(OSError):
                    probe.unlink(missing_ok=True)
        with locked(folder / LOCK, f"{folder} is in use by {{}}, which writes a run there"):
            yield
    finally:
        for path in made:
            try:
                path.rmdir()
            except OSError:  # not empty, or in use by another process
                break


@contextmanager
def locked(path: Path, text: str, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock during the block; the system releases it when the process ends or is killed.

    Args:
        path: path of the lock file, which names the process that holds it; removed at the end.
        text: beginning of the error message, with ``{}`` in place of that process.
        wait: whether to wait for the other process instead of raising an error.

    Raises:
        FileExistsError: another process, or another call in this one, holds the lock.

    >>> with locked(Path("file.lock"), "file is in use by {}"):
    ...     with locked(Path("file.lock"), "file is in use by {}"):
    ...         pass
    Traceback (most recent call last):
    FileExistsError: file is in use by process ...; wait for its end, or write another folder
    """
    while (held := _opened(path)) is None:
        if not wait:
            holder = _holder(path)
            raise FileExistsError(
                f"{text.format(holder)}; wait for its end, or write another folder"
            )
        time.sleep(POLL)
    try:
        yield
    finally:
        if os.name == "nt":  # an open file cannot be removed there
            os.close(held)
        with suppress(OSError):
            path.unlink()
        if os.name != "nt":
            os.close(held)


def _opened(path: Path) -> int | None:
    """Opens and locks the file, or returns None if another process holds it."""
    while True:
        with explained(path):
            held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(held, path):
                os.close(held)
                return None
            if _same_file(held, path):
                os.ftruncate(held, 0)
                os.lseek(held, 0, os.SEEK_SET)
                os.write(held, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # the previous holder removed it between open and lock


def _lock(held: int, path: Path) -> bool:
    """Locks an open file if it is free."""
    try:
        if os.name == "nt":
            import msvcrt

            # Beyond the text, which other processes must be able to read.
            os.lseek(held, 1 << 30, os.SEEK_SET)
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue] (Windows only)
        else:
            import fcntl

            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        # A file system without locks: use the content of the file.
        return not _alive(path)
    return True


def _same_file(held: int, path: Path) -> bool:
    """Whether an open file still exists under its name; its holder removes it at the end."""
    try:
        return os.path.samestat(os.fstat(held), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(path: Path) -> tuple[int, str] | None:
    """Number and host of the process in a lock file."""
    try:
        number, _, host = path.read_text().strip().partition(" ")
        return int(number), host
    except (OSError, ValueError):
        return None


def _holder(path: Path) -> str:
    owner = _owner(path)
    if owner is None:
        return "another process"
    number, host = owner
    return f"process {number}" + (f" of {host}" if host != socket.gethostname() else "")


def _alive(path: Path) -> bool:
    """Whether the process named by a lock file may be alive; True for another host."""
    owner = _owner(path)
    if owner is None or owner[0] == os.getpid():
        return False
    number, host = owner
    if host != socket.gethostname():
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
