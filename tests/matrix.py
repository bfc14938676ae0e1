"""Runs the tests on each Python and each version of torch that can be installed here, and prints
what is supported.

    python tests/matrix.py                               # each Python; torch pinned and newest
    python tests/matrix.py --python 3.13 --torch 2.14.1  # one cell
    python tests/matrix.py --slow                        # all tests, not only those of `make test`

Each cell gets a virtual environment in a temporary folder, which is deleted before the next: torch
with CUDA takes 5 GB. What cannot be installed is a row of the table, not an end of the run. The
exit status is 1 where a cell failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINORS = range(10, 15)
COUNTS = re.compile(r"\d+ (?:passed|failed|errors?)(?:, \d+ \w+)* in ")
HOUR = 3600


def pinned() -> str:
    """The version of torch that `make` installs."""
    found = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def version_of(python: str) -> str | None:
    """``3.13`` of an interpreter, None if it does not run."""
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def pythons() -> dict[str, str]:
    """Interpreters by version: of this process, on the path, and of pyenv."""
    folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable]
    for minor in MINORS:
        candidates += [shutil.which(f"python3.{minor}") or ""]
        candidates += [str(path) for path in sorted(folder.glob(f"3.{minor}.*/bin/python"))]
    found: dict[str, str] = {}
    for candidate in filter(None, candidates):
        version = version_of(candidate)
        if version is not None:
            found.setdefault(version, candidate)
    return dict(sorted(found.items(), key=lambda item: int(item[0].split(".")[1])))


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1].strip() if lines else f"no output, exit status {done.returncode}"


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run in the repository on one thread; a command that takes hours counts as failed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2 * HOUR
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def installed(python: str, torch: str, folder: Path) -> tuple[str, str]:
    """The interpreter of a new environment with that torch, and why there is none (one of both is
    empty)."""
    own = str(folder / "bin" / "python")
    wanted = [] if torch == "newest" else ["--constraint", str(folder / "torch.txt")]
    steps = [
        [python, "-m", "venv", str(folder)],
        [own, "-m", "pip", "--disable-pip-version-check", "install", "-q", *wanted, "-e", ".[dev]"],
    ]
    folder.mkdir(parents=True, exist_ok=True)
    if wanted:
        Path(wanted[1]).write_text(f"torch=={torch}\n")
    for step in steps:
        done = run(step)
        if done.returncode:
            return "", last_line(done)
    return own, ""


def cell(python: str, torch: str, folder: Path, *, slow: bool) -> tuple[bool, str, str]:
    """Whether one pair passes, the version of torch that it got, and the closing line of the tests
    or the reason."""
    own, reason = installed(python, torch, folder)
    if reason:
        return False, torch, f"cannot be installed: {reason}"
    got = last_line(run([own, "-c", "import torch; print(torch.__version__)"]))
    some = [] if slow else ["-m", "not slow"]
    done = run([own, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *some])
    closing = [line for line in done.stdout.splitlines() if COUNTS.search(line)]
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(f"  {line}", flush=True)
    return done.returncode == 0, got, closing[-1] if closing else last_line(done)


def table(rows: Iterable[tuple[str, str, bool, str]]) -> str:
    lines = [f"{'Python':8}{'torch':16}{'supported':11}tests"]
    lines += [
        f"{python:8}{torch:16}{'yes' if good else 'no':11}{text}"
        for python, torch, good, text in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--python", nargs="+", metavar="3.N", help="versions of Python (default: each one found)"
    )
    parser.add_argument(
        "--torch", nargs="+", default=[pinned(), "newest"], help="versions of torch, or newest"
    )
    parser.add_argument("--slow", action="store_true", help="run the slow tests too")
    options = parser.parse_args()
    found, rows = pythons(), []
    for version in options.python or found:
        for torch in options.torch:
            if version not in found:
                rows.append((version, torch, False, "no such Python here"))
                continue
            print(f"Python {version}, torch {torch} ...", flush=True)
            with tempfile.TemporaryDirectory(prefix="spikeloom-matrix-") as folder:
                good, got, text = cell(
                    found[version], torch, Path(folder) / "venv", slow=options.slow
                )
            rows.append((version, got, good, text))
    print(table(rows))
    return 0 if all(row[2] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
