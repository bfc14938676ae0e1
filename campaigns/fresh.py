"""Installs the wheel into new virtual environments and does there what a newcomer does.

In each environment: the Python block of the README, ``spikeloom train``, ``evaluate`` and
``predict``. Prints the seconds of each step and the sizes of the environments; stops at the first
step that fails.

    python campaigns/fresh.py --out FOLDER
    python campaigns/fresh.py --out FOLDER --torch 2.14.1 --extras "" cpu,viz,data,nir
"""

import argparse
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
SAMPLE = "import numpy as np; np.save('digit.npy', np.random.default_rng(0).random((1, 8, 8)))"


def run(command: list[str], folder: Path, limit: float = 1800) -> tuple[float, str]:
    """Seconds and output of a command, which must succeed."""
    begin = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}"
        )
    return time.perf_counter() - begin, done.stdout


def size(folder: Path) -> float:
    """MB of the files in a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6


def readme() -> str:
    """The first Python block of the README."""
    found = BLOCK.search((ROOT / "README.md").read_text())
    assert found is not None, "README.md has no Python block"
    return found[1]


def wheel(folder: Path) -> Path:
    """The wheel of this repository."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder)]
    run([*command, str(ROOT)], folder)
    return next(folder.glob("spikeloom-*.whl"))


def steps(python: Path, folder: Path) -> dict[str, list[str]]:
    """What a newcomer does, by name."""
    program = str(python.with_name("spikeloom"))
    (folder / "readme.py").write_text(readme())
    short = ["--data", "digits", "--epochs", "2", "--out", "run"]
    return {
        "import": [str(python), "-c", "import spikeloom"],
        "lines of the README": [str(python), "readme.py"],
        "spikeloom train": [program, "train", *short],
        "spikeloom evaluate": [program, "evaluate", "run"],
        "sample": [str(python), "-c", SAMPLE],
        "spikeloom predict": [program, "predict", "run", "digit.npy"],
    }


def visit(package: Path, extras: str, torch: str, folder: Path) -> dict[str, float]:
    """Install into a new environment and do everything there; the environment is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q"]
    found = {"install torch": run([*pip, f"torch=={torch}"], folder)[0]}
    found["MB with torch"] = size(folder / "venv")
    found["install spikeloom"] = run(
        [*pip, f"{package}[{extras}]" if extras else str(package)], folder
    )[0]
    found["MB with spikeloom"] = size(folder / "venv")
    (folder / "work").mkdir()
    for name, command in steps(python, folder / "work").items():
        found[name] = run(command, folder / "work")[0]
    shutil.rmtree(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--torch", nargs="+", default=["2.13.0"], help="versions of torch")
    parser.add_argument("--extras", nargs="+", default=["", "all"], help="'' for none")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    package = wheel(given.out)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"{package.name}: {package.stat().st_size / 1e3:.0f} kB")
    for torch in given.torch:
        for extras in given.extras:
            print(f"torch {torch}, extras {extras or 'none'}", flush=True)
            for name, value in visit(package, extras, torch, given.out / "visit").items():
                unit = "" if name.startswith("MB") else " s"
                print(f"  {name}: {value:.1f}{unit}", flush=True)


if __name__ == "__main__":
    main()
