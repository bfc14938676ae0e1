"""The journal of a campaign: one line of JSON for each trial, so that an interrupted campaign can
continue."""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Journal", "options", "trials"]


def options(text: str | None, number: int) -> argparse.ArgumentParser:
    """The options that all campaigns have.

    Args:
        text: what the campaign does.
        number: of trials of a full run.
    """
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    parser.add_argument("--number", type=int, default=number, help=f"of trials (default: {number})")
    parser.add_argument(
        "--seed", type=int, default=0, help="of all that is chosen at random (default: 0)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; a campaign that is there goes on"
    )
    return parser


class Journal:
    """Writes all trials to ``trials.jsonl``, and faults also to ``found.jsonl``.

    Args:
        folder: where it is written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.found = folder / "trials.jsonl", folder / "found.jsonl"
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        whole, end, cut = text.rpartition("\n")
        if cut:  # the line that was written when the campaign was killed
            self.path.write_text(whole + end, encoding="utf-8")
        self.rows = [json.loads(line) for line in whole.splitlines()]

    def add(self, **row: Any) -> None:
        """Write a trial; ``wrong`` says what was wrong with it, or is None."""
        self.rows.append(row)
        for path in [self.path, *([self.found] if row["wrong"] else [])]:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def __str__(self) -> str:
        """Figures by kind, and what went wrong."""
        kinds = Counter(row["kind"] for row in self.rows)
        wrong = [row for row in self.rows if row["wrong"]]
        lines = [f"{kind:<24} {number:>6}" for kind, number in sorted(kinds.items())]
        lines += [f"WRONG: {row}" for row in wrong]
        return "\n".join([*lines, f"{len(self.rows)} trials, {len(wrong)} wrong"])

    @property
    def code(self) -> int:
        """Exit code: 1 if anything was wrong."""
        return int(any(row["wrong"] for row in self.rows))


def trials(journal: Journal, number: int, seed: int) -> Iterator[tuple[int, random.Random]]:
    """Yield the numbers of the remaining trials, each with a generator that depends only on it and
    the seed."""
    done = {row["trial"] for row in journal.rows}
    for trial in range(number):
        if trial not in done:
            yield trial, random.Random(f"{seed} {trial}")
