"""A training by STDP with its folder: progress, exact checkpoints, pictures and a run card."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.style import bare_figure
from ..data import Split
from ..learning import DiehlAndCook2015, Row
from ..spikeplot import weights
from .card import versions, write_card
from .folder import RunFolder
from .interrupt import Interrupted, StopRequest
from .pictures import pictures_missing, write
from .processes import check_alone
from .progress import Progress
from .restoring import keys, number, refuse
from .settings import check_same, whole
from .threads import using

__all__ = ["StdpFolder", "StdpRun"]

NAMING = 10_000  # training images that name the neurons


class StdpFolder(RunFolder):
    """The folder of a run: a checkpoint, a run card, and a picture of the receptive fields."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(path, seed)
        self.fields = self.path / "receptive_fields.png"

    def names(self) -> list[str]:
        return [*super().names(), self.fields.name]


class StdpRun:
    """One training: it can be interrupted between two reports and goes on as if it had not been.

    Args:
        build: makes the network from a generator.
        data: images and their labels; these only name neurons and measure accuracy.
        settings: what determines the result: ``epochs``, ``batch``, ``engine``, ``every``, ``seed``
            and whatever ``build`` depends on; saved in the checkpoint.
        folder: where everything is written.
        fields: draw the receptive fields at every report instead of at the end only.
        progress: receives the report lines.
    """

    def __init__(
        self,
        build: Callable[[torch.Generator], DiehlAndCook2015],
        data: Split,
        settings: dict[str, Any],
        folder: StdpFolder,
        fields: bool,
        progress: Progress,
    ) -> None:
        check_alone("spikeloom stdp")
        for name in ("epochs", "every"):
            whole(name, settings[name])
        self.data, self.settings, self.folder, self.fields, self.progress = (
            data,
            settings,
            folder,
            fields,
            progress,
        )
        self.net = build(torch.Generator().manual_seed(settings["seed"]))
        self.way = self.net.way(settings["engine"], settings["batch"])
        self.rows: list[Row] = []
        self.seconds = 0.0

    @property
    def total(self) -> int:
        """Images of the whole training."""
        return self.settings["epochs"] * len(self.data.x_train)

    def restore(self) -> None:
        """Go on from the checkpoint of the folder.

        Raises:
            ValueError: its settings differ, or it holds what cannot be.
        """
        state = self.folder.state(self.settings["seed"]) or {}
        path = str(self.folder.checkpoint(self.settings["seed"]))
        keys(path, state, {"settings": dict, "rows": list, "seconds": (int, float), "model": dict})
        check_same(path, state["settings"], self.settings)
        self._check(path, state)
        self.net.load_state_dict(state["model"])
        self.rows, self.seconds = [Row(*row) for row in state["rows"]], state["seconds"]
        self.progress.say(f"going on after {self.rows[-1].images if self.rows else 0} images")

    def _check(self, path: str, state: dict[str, Any]) -> None:
        """Refuse rows and weights that cannot be those of this run."""
        number(path, "seconds", state["seconds"], 0)
        images = 0
        for row in state["rows"]:
            if not isinstance(row, list) or len(row) != len(Row._fields):
                refuse(path, f"a row must have {len(Row._fields)} entries, got {row!r}")
            number(path, "images of a row", row[0], images + 1, self.total)
            images = row[0]
        wanted = self.net.state_dict()
        for name in [n for n in wanted if n not in state["model"]]:
            refuse(path, f"model.{name} is missing")
        for name, value in state["model"].items():
            if isinstance(value, Tensor) and bool(value.isnan().any()):
                refuse(path, f"model.{name} holds NaN")

    def run(self) -> dict[str, Any]:
        """Train to the end, name the neurons, test, write; returns the content of the run card.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; a checkpoint has been written.
        """
        with using(1), StopRequest() as stop:
            self._train(stop)
            return self._finish()

    def _train(self, stop: StopRequest) -> None:
        settings, done = self.settings, self.rows[-1].images if self.rows else 0
        walk = self.net.rows(
            self.data.x_train,
            settings["epochs"],
            self.way,
            labels=self.data.y_train,
            every=settings["every"],
            seed=settings["seed"],
            done=done,
        )
        start = time.process_time()
        for row in walk:
            now = time.process_time()
            self.seconds, start = self.seconds + now - start, now
            self.rows.append(row)
            self.save()
            self.progress.say(
                f"{row.images:>{len(str(self.total))}}/{self.total} images  {described(row)}"
            )
            if self.fields:
                self.draw()
            if stop.made and row.images < self.total:
                path = self.folder.checkpoint(settings["seed"])
                where = f"stopped after {row.images} of {self.total} images"
                raise Interrupted(
                    f"{where}; {path} holds all that is needed to go on (resume=True)"
                )

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "settings": self.settings,
            "rows": [list(row) for row in self.rows],
            "seconds": self.seconds,
        }
        path = self.folder.checkpoint(self.settings["seed"])
        self.folder.save(path, {**state, "model": self.net.state_dict()})

    def _finish(self) -> dict[str, Any]:
        data, generator = self.data, torch.Generator().manual_seed(self.settings["seed"])
        self.net.eval()
        options: dict[str, Any] = {"engine": self.settings["engine"], "generator": generator}
        self.net.assign(data.x_train[:NAMING], data.y_train[:NAMING], **options)
        counts = {
            vote: self.net.predict(data.x_test, vote, **options) for vote in ("all", "proportion")
        }
        self.net.train()
        self.save()
        self.draw()
        card = {
            "data": {
                "name": data.name,
                "description": data.description,
                "test_samples": len(data.y_test),
            },
            "settings": self.settings,
            "constants": asdict(self.net.constants),
            "rule": repr(self.net.rule),
            "rows": [row._asdict() for row in self.rows],
            "test_accuracy": {
                v: (p == data.y_test).double().mean().item() for v, p in counts.items()
            },
            "cpu_seconds": self.seconds,
            "versions": versions(),
        }
        write_card(self.folder.card, card)
        return card

    def draw(self) -> None:
        """Write the receptive fields as PNG, where matplotlib is."""
        if pictures_missing():
            return
        fig = bare_figure(8, 8, "drawing the receptive fields")
        shape = self.data.x_train.shape[-2:]
        weights(
            self.net.xe.w, fig.add_subplot(), shape=(int(shape[0]), int(shape[1])), cmap="hot_r"
        )
        write(fig, self.folder.fields)


def described(row: Row) -> str:
    """A row of the report in words.

    >>> described(Row(1000, 8.5, 0.0, 0.8))
    'accuracy of the current assignment 80.0 %, 8.5 spikes an image'
    """
    accuracy = (
        "no assignment yet" if row.accuracy != row.accuracy else f"{100 * row.accuracy:.1f} %"
    )
    silent = f", {100 * row.silent:.1f} % of the images without" if row.silent else ""
    text = f"accuracy of the current assignment {accuracy}" if "%" in accuracy else accuracy
    return f"{text}, {row.spikes:.1f} spikes an image{silent}"
