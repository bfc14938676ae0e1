"""The campaign of mutated files in small: no error but ValueError with the path, and no crash of
ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("h5py")
pytest.importorskip("nir")
pytest.importorskip("PIL")

ROOT = Path(__file__).resolve().parent.parent


def campaign(out: Path, *options: str) -> str:
    command = [sys.executable, "campaigns/readers.py", "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_mutated_files_are_read_or_refused_with_their_path_and_a_campaign_goes_on(
    tmp_path: Path,
) -> None:
    out = tmp_path / "results.jsonl"
    assert "96 mutated files, 0 faults" in campaign(out, "--number", "96", "--seed", "3")
    assert "160 mutated files, 0 faults" in campaign(out, "--number", "160", "--seed", "3")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["case"] for line in lines] == list(range(160))
    refused = sum(line["outcome"] == "refused" for line in lines)
    assert 80 < refused < 160
