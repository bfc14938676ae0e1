"""The matrix of Pythons and versions of torch: every pair is a row, also one that cannot be
installed."""

import subprocess
import sys
from pathlib import Path

import matrix
import pytest


def test_an_installation_that_fails_is_a_row_with_its_reason(tmp_path: Path) -> None:
    refused = tmp_path / "python"
    refused.write_text("#!/bin/sh\necho 'no module named venv' >&2\nexit 1\n")
    refused.chmod(0o755)
    good, torch, text = matrix.cell(str(refused), "2.13.0", tmp_path / "venv", slow=False)
    assert (good, torch, text) == (False, "2.13.0", "cannot be installed: no module named venv")


def test_the_closing_line_of_pytest_is_what_a_row_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "pytest": "FAILED tests/test_x.py::test_y\n1 failed, 2 passed, 3 skipped in 4.5s "
        "(0:00:04)\n"
    }

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        text = said["pytest"] if "pytest" in command else "2.14.1+cpu\n"
        return subprocess.CompletedProcess(command, int("pytest" in command), text, "")

    monkeypatch.setattr(matrix, "run", run)
    row = matrix.cell(sys.executable, "newest", tmp_path, slow=False)
    assert row == (False, "2.14.1+cpu", "1 failed, 2 passed, 3 skipped in 4.5s (0:00:04)")


def test_this_python_is_found_and_a_broken_one_is_not() -> None:
    version = "{}.{}".format(*sys.version_info[:2])
    assert version in matrix.pythons()
    assert matrix.version_of("/nonexistent/python") is None


def test_the_table_says_what_is_supported() -> None:
    rows = [
        ("3.10", "2.13.0", True, "9 passed in 1s"),
        ("3.14", "2.13.0", False, "no such Python here"),
    ]
    header, first, second = matrix.table(rows).splitlines()
    assert header.split() == ["Python", "torch", "supported", "tests"]
    assert first.split()[:3] == ["3.10", "2.13.0", "yes"]
    assert second.split()[:3] == ["3.14", "2.13.0", "no"]
