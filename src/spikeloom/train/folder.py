"""The folder of a run: which files it has, and that none is lost by mistake."""

from os import PathLike
from pathlib import Path
from typing import Any

from . import checkpoint

__all__ = ["Folder"]


class Folder:
    """Names of the files of a run.

    Args:
        path: where it is; made when the first file is written.
        seed: the first seed of the run.
    """

    def __init__(self, path: "str | PathLike[str]", seed: int) -> None:
        self.path, self.seed = Path(path), seed
        self.card = self.path / "run.json"
        self.raster = self.path / "raster.png"
        self.curves = self.path / "curves.png"

    def checkpoint(self, seed: int) -> Path:
        """Checkpoint of one seed."""
        return self.path / ("checkpoint.pt" if seed == self.seed else f"checkpoint-seed{seed}.pt")

    def held(self) -> list[Path]:
        """The files of a run that are there."""
        if not self.path.is_dir():
            return []
        names = (self.card, self.raster, self.curves)
        return [*sorted(self.path.glob("checkpoint*.pt")), *(path for path in names if path.exists())]

    def prepare(self, resume: bool, force: bool) -> None:
        """Refuse to begin where a run would be lost; with ``force`` remove its files.

        Raises:
            FileExistsError: there is a run, and neither ``resume`` nor ``force``.
            FileNotFoundError: ``resume``, and there is none.
            NotADirectoryError: the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"out must be a folder, got the file {self.path}; write another path")
        held = self.held()
        if resume and not self.checkpoint(self.seed).exists():
            raise FileNotFoundError(
                f"resume=True needs a checkpoint, and there is no {self.checkpoint(self.seed)}; "
                "leave it out to begin a run there"
            )
        if held and not resume and not force:
            raise FileExistsError(
                f"{self.path} holds a run already ({', '.join(path.name for path in held)}); write another folder, "
                "resume=True to go on with it, or force=True to replace it"
            )
        if force:
            for path in held:
                path.unlink()

    def state(self, seed: int) -> dict[str, Any] | None:
        """What the checkpoint of a seed holds; None if there is none."""
        path = self.checkpoint(seed)
        return checkpoint.load(path) if path.exists() else None
