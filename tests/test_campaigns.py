"""The campaigns run at a small size, find what is planted, and go on where they were stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGNS = Path(__file__).resolve().parent.parent / "campaigns"


def campaign(name: str, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(CAMPAIGNS / f"{name}.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_runs_that_are_hit_by_signals_resume_exactly(tmp_path: Path) -> None:
    for number in (1, 2):  # the second call goes on
        done = campaign("crashes", "--out", tmp_path, "--number", number, "--commands", "train")
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 0 wrong" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert sum(len(row["signals"]) for row in rows) >= 2
    assert [row["trial"] for row in rows] == list(range(len(rows)))


@pytest.mark.slow
def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    done = campaign("damaged", "--out", tmp_path, "--number", 12)
    assert done.returncode == 0 and "12 trials, 0 wrong" in done.stdout, done.stdout + done.stderr


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
