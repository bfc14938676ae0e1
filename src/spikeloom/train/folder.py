"""The folder of a run: its files, protection of old runs, and a lock for one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from ..files import explained, reserved, swept
from ..saving import OF_RUNS
from . import checkpoint

__all__ = ["OPTIONS", "Folder", "RunFolder"]

OPTIONS = "train.toml"  # of the command that made a run


class Folder:
    """A folder with files of known names, of which the first one to be written is a checkpoint.

    Args:
        path: where it is; made by `reserved`.
    """

    kind = "run"  # for the errors
    begins = "begin a run"

    def __init__(self, path: "str | PathLike[str]") -> None:
        self.path = Path(path)
        self._replaced: list[Path] = []

    def names(self) -> list[str]:
        """Patterns of its file names, checkpoint first, in the order of error messages."""
        raise NotImplementedError

    @property
    def first(self) -> Path:
        """The checkpoint that a resumed run needs."""
        raise NotImplementedError

    def held(self) -> list[Path]:
        """The files of a run that are there."""
        return (
            [path for name in self.names() for path in sorted(self.path.glob(name))]
            if self.path.is_dir()
            else []
        )

    def check(self, resume: bool, force: bool) -> None:
        """Refuse to begin where a run would be lost.

        Raises:
            FileExistsError: there is a run, and neither ``resume`` nor ``force``.
            FileNotFoundError: ``resume``, and there is none.
            NotADirectoryError: the path is a file.
        """
        with explained(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise NotADirectoryError(
                    f"out must be a folder, got the file {self.path}; write another path"
                )
            held = self.held()
        if resume and not self.first.exists():
            raise FileNotFoundError(
                f"resume=True needs a checkpoint, and there is no {self.first}; leave it out to "
                f"{self.begins} there"
            )
        if held and not resume and not force:
            raise FileExistsError(
                f"{self.path} holds a {self.kind} already "
                f"({', '.join(path.name for path in held)}); write another "
                "folder, resume=True to go on with it, or force=True to replace it"
            )

    @contextmanager
    def reserved(self, resume: bool, force: bool) -> Iterator[None]:
        """Lock the folder during the block; it must be writable and hold no run that would be lost.

        With ``force`` the files of the old run stay until the first checkpoint of the new one is
        complete.

        Raises:
            FileExistsError: another process writes there; or as `check`.
            OSError: it cannot be made or written; or as `check`.
        """
        self.check(resume, force)
        with reserved(self.path):
            self.check(resume, force)  # another process may have finished a run meanwhile
            swept(self.path, self._ours)
            self._replaced = self.held() if force else []
            yield

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint, and remove what ``force`` replaces as soon as it is complete."""
        checkpoint.save(path, state, self.clear)

    def clear(self) -> None:
        """Remove what ``force`` replaces; called when the first file of the new run is complete."""
        for old in self._replaced:
            old.unlink(missing_ok=True)
        self._replaced = []

    def _ours(self, stem: str) -> bool:
        """Whether a temporary of this stem belongs to a file of the folder."""
        return any(Path(stem).match(Path(name).stem) for name in (*self.names(), "probe.tmp"))


class RunFolder(Folder):
    """The folder of a training by `fit`.

    Args:
        path: where it is.
        seed: the first seed of the run.
    """

    def __init__(self, path: "str | PathLike[str]", seed: int) -> None:
        super().__init__(path)
        self.seed = seed
        self.card = self.path / "run.json"
        self.raster = self.path / "raster.png"
        self.curves = self.path / "curves.png"
        self.net = self.path / OF_RUNS

    def names(self) -> list[str]:
        fixed = ["checkpoint.pt", "checkpoint-seed*.pt", "run.json", "raster.png", "curves.png"]
        by_callbacks = [
            f"{stem}{seed}{end}"
            for stem, end in (("best", ".pt"), ("history", ".csv"))
            for seed in ("", "-seed*")
        ]
        return [*fixed, OF_RUNS, OPTIONS, *by_callbacks]

    @property
    def first(self) -> Path:
        return self.checkpoint(self.seed)

    def checkpoint(self, seed: int) -> Path:
        """Checkpoint of one seed."""
        return self.of_seed("checkpoint.pt", seed)

    def of_seed(self, name: str, seed: int) -> Path:
        """Path of a file that there is once for each seed."""
        stem, dot, end = name.partition(".")
        return self.path / (name if seed == self.seed else f"{stem}-seed{seed}{dot}{end}")

    def state(self, seed: int) -> dict[str, Any] | None:
        """What the checkpoint of a seed holds; None if there is none."""
        path = self.checkpoint(seed)
        return checkpoint.load(path) if path.exists() else None
