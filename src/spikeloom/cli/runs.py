"""A finished run of ``spikeloom train``, opened by the commands that use it."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..saving import load
from ..train.encoding import TIMED
from ..train.folder import OPTIONS

__all__ = ["Finished", "add_arguments", "finished"]


@dataclass(frozen=True)
class Finished:
    """A network and how it was trained.

    Attributes:
        net: the network.
        card: content of ``run.json``.
        options: of the command that trained it; empty for a run of Python.
        path: the folder.
    """

    net: nn.Module
    card: dict[str, Any]
    options: argparse.Namespace
    path: Path

    @property
    def encode(self) -> str:
        """The input code."""
        return self.card["configuration"]["encode"]

    @property
    def num_steps(self) -> int | None:
        """Time steps of a sample that does not carry time itself."""
        return None if self.encode in TIMED else self.card["configuration"]["num_steps"]

    @property
    def sample_shape(self) -> list[int]:
        """Shape of one sample."""
        return self.card["data"]["sample_shape"]

    @property
    def classes(self) -> list[str]:
        """Names of the classes; their numbers where they have none."""
        names = self.card["data"].get("class_names")
        return names or [str(number) for number in range(self.card["network"]["classes"])]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the argument that names the run."""
    parser.add_argument("run", metavar="RUN", help="folder of a run of spikeloom train")


def finished(path: Path) -> Finished:
    """Open a run.

    Raises:
        FileNotFoundError: the folder holds none, or one that is not finished.
        ValueError: its card is damaged.
    """
    card, options = path / "run.json", path / OPTIONS
    if not card.exists():
        raise FileNotFoundError(
            f"{path} holds no finished run: there is no {card.name}; write the folder that "
            "spikeloom train named, or finish it with spikeloom train --resume"
        )
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
        for part in ("configuration", "data", "network"):
            content[part].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{card} is no run card: {error}; train again") from error
    return Finished(load(path).eval(), content, _options(options), path)


def _options(path: Path) -> argparse.Namespace:
    """Options of the command that made the run."""
    if not path.exists():
        return argparse.Namespace()
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(" = ")
        values[name] = json.loads(value)
    return argparse.Namespace(**values)
