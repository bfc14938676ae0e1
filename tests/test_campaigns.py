"""The campaigns run at a small size, find what is planted, and go on where they were stopped."""

import json
import os
from pathlib import Path

import pytest
from scripts import run_script

CAMPAIGNS = Path(__file__).resolve().parent.parent / "campaigns"


def campaign(name: str, *words: object) -> str:
    """What a campaign prints that finds no fault."""
    code, printed = run_script(CAMPAIGNS / f"{name}.py", *words)
    assert code == 0, printed
    return printed


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_runs_that_are_hit_by_signals_resume_exactly(tmp_path: Path) -> None:
    words = ("--out", tmp_path, "--number", 1, "--commands", "train")
    assert " 0 wrong" in campaign("crashes", *words)
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert sum(len(row["signals"]) for row in rows) >= 1
    assert [row["trial"] for row in rows] == list(range(len(rows)))


@pytest.mark.slow
def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    assert "12 trials, 0 wrong" in campaign("damaged", "--out", tmp_path, "--number", 12)


def test_a_journal_knows_what_is_done_and_what_was_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    journal = __import__("journal")
    first = journal.Journal(tmp_path)
    choices = {number: chosen.random() for number, chosen in journal.trials(first, 4, seed=1)}
    first.add(trial=0, kind="a", wrong=None)
    first.add(trial=2, kind="b", wrong="spilt")
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"trial": 3, "ki')  # it was killed while it wrote
    again = journal.Journal(tmp_path)
    assert again.code == 1 and str(again).endswith("2 trials, 1 wrong")
    assert {n: chosen.random() for n, chosen in journal.trials(again, 4, seed=1)} == {
        n: choices[n] for n in (1, 3)
    }
    assert json.loads((tmp_path / "found.jsonl").read_text())["wrong"] == "spilt"
    again.add(trial=3, kind="a", wrong=None)
    assert [row["trial"] for row in journal.Journal(tmp_path).rows] == [0, 2, 3]
