"""The campaign of wrong calls in small: every group of calls is refused by errors of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nir")

ROOT = Path(__file__).resolve().parent.parent


def test_wrong_arguments_are_refused_by_errors_that_this_package_raises_itself(
    tmp_path: Path,
) -> None:
    out = tmp_path / "results.jsonl"
    command = [
        sys.executable,
        "campaigns/calls.py",
        "--out",
        str(out),
        "--number",
        "500",
        "--seed",
        "2",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert "500 calls" in done.stdout, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["case"] for line in lines] == list(range(500))
    faults = [line for line in lines if line["outcome"] not in ("refused", "returned")]
    assert not faults, "\n".join(line["detail"] for line in faults)
    assert sum(line["outcome"] == "refused" for line in lines) > 250
