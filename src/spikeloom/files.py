"""Files that are either old or new, never half written, and folders in which one process writes at a time."""

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
    """Give an OSError about ``path`` the path, the reason in words, and the remedy.

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
        ours = named is None or str(named).startswith(str(path.parent)) or str(path).startswith(str(named))
        if error.errno is None or not ours:
            raise
        reason = REMEDIES.get(error.errno, f"{error.strerror}; choose another folder")
        told = type(error)(f"{path} cannot be written: {reason}")
        told.errno = error.errno
        raise told from error


@contextmanager
def atomic(path: Path, before: Callable[[], None] | None = None) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it at the end of the block, unless the block raises.

    Args:
        path: the file to write; its folder is made.
        before: called when the new file is complete on the disk, before it takes its name.

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
                os.fsync(file.fileno())  # a rename may reach the disk before the data do
            if before is not None:
                before()
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def swept(folder: Path, stems: Callable[[str], bool]) -> list[Path]:
    """Remove the temporaries that killed processes left in a folder, and return them.

    Only for the process that holds the lock of the folder: whatever number is in their names, their writer is gone.

    Args:
        folder: where to look.
        stems: whether a file of this stem belongs to the caller.

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
    """Make a folder, prove that it can be written, and keep other processes out during the block.

    What the block leaves empty of the folders made here is removed again.

    Raises:
        FileExistsError: another process holds the folder.
        OSError: it cannot be made or written.

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
                probe.write_bytes(b"x" * 4096)  # an empty file may fit where nothing else does
            finally:
                with suppress(OSError):
                    probe.unlink(missing_ok=True)
        with locked(folder / LOCK, f"{folder} is in use by {{}}, which writes a run there"):
            yield
    finally:
        for path in made:
            try:
                path.rmdir()
            except OSError:  # not empty, or used by another process meanwhile
                break


@contextmanager
def locked(path: Path, text: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock during the block. The system frees it when its process ends, however that happens.

    Args:
        path: of the lock file, which names the process that holds it; removed at the end.
        text: beginning of the error, with ``{}`` in the place of that process.
        wait: wait for the other process instead of raising.

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
            raise FileExistsError(f"{text.format(holder)}; wait for its end, or write another folder")
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
    """The open and locked file, or None if another one holds it."""
    while True:
        with explained(path):
            held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(held, path):
                os.close(held)
                return None
            if _is(held, path):
                os.ftruncate(held, 0)
                os.lseek(held, 0, os.SEEK_SET)
                os.write(held, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # its holder removed it between the opening and the lock


def _lock(held: int, path: Path) -> bool:
    """Lock an open file if it is free."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(held, 1 << 30, os.SEEK_SET)  # beyond the text, which others must be able to read
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue] (Windows only)
        else:
            import fcntl

            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        return not _lives(path)  # a file system without locks: what the file says is all there is
    return True


def _is(held: int, path: Path) -> bool:
    """Whether an open file still has its name, which its holder removes at the end."""
    try:
        return os.path.samestat(os.fstat(held), os.stat(path))
    except FileNotFoundError:
        return False


def _said(path: Path) -> tuple[int, str] | None:
    try:
        number, _, host = path.read_text().strip().partition(" ")
        return int(number), host
    except (OSError, ValueError):
        return None


def _holder(path: Path) -> str:
    said = _said(path)
    if said is None:
        return "another process"
    return f"process {said[0]}" + (f" of {said[1]}" if said[1] != socket.gethostname() else "")


def _lives(path: Path) -> bool:
    """Whether the process that a lock file names is alive; on another machine nothing can be known."""
    said = _said(path)
    if said is None or said[0] == os.getpid():
        return False
    if said[1] != socket.gethostname():
        return True
    try:
        os.kill(said[0], 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
