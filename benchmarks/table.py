"""Run the benchmarks of speed and memory on this machine, and write their tables to one page.

    python benchmarks/table.py [--out table.md] [--only mlp conv] [--smoke]

Every script runs in a process of its own, on one thread; finished ones are kept beside the page
(``table.json``), so that an interrupted call continues. Take a machine that does nothing else.
Everything together takes about an hour; peers that are not installed are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import asked, machine

HERE = Path(__file__).resolve().parent
SCRIPTS = {
    "mlp": ["--compiled"],
    "conv": ["--compiled"],
    "loop": ["--compiled"],
    "loops": [],
    "shd_like": [],
    "shd_like, two threads": ["--threads", "2"],
    "memory": [],
    "steps": [],
    "events": [],
    "bandwidth": [],
    "conversion_speed": [],
    "stdp_speed": [],
    "first_use": [],
    "import_time": [],
    "gpu": [],
}


def tables(name: str, smoke: bool) -> dict[str, Any]:
    """The tables that a script prints, and the seconds that it takes."""
    script = HERE / f"{name.partition(',')[0]}.py"
    command = [sys.executable, "-W", "ignore", str(script), *SCRIPTS[name]]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, *(["--smoke"] if smoke else [])],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2" if "two threads" in name else "1"},
    )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:]}
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"title"')]
    return {"tables": found, "seconds": round(time.perf_counter() - start)}


def markdown(table: dict[str, Any]) -> str:
    """One table of a page."""
    rows = table["rows"]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join([f"### {table['title']}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def page(done: dict[str, Any]) -> str:
    """All tables that are there, below the machine."""
    here = machine()
    parts = ["# Measured on this machine", ", ".join(f"{k} {v}" for k, v in here.items() if v)]
    for name, found in done.items():
        parts.append(f"## `benchmarks/{name.partition(',')[0]}.py`, {found.get('seconds', 0)} s")
        parts += [f"failed: {found['failed']}"] if "failed" in found else []
        parts += [markdown(table) for table in found.get("tables", [])]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("table.md"), help="the page")
    parser.add_argument("--only", nargs="*", help="parts of the names of the scripts to run")
    parser.add_argument("--smoke", action="store_true", help="small sizes, few repeats")
    args = parser.parse_args()
    kept = args.out.with_suffix(".json")
    done = json.loads(kept.read_text()) if kept.exists() else {}
    for name in SCRIPTS:
        if asked(name, args.only) and "tables" not in done.get(name, {}):
            print(f"{name} ...", flush=True)
            done[name] = tables(name, args.smoke)
            kept.write_text(json.dumps(done, indent=1))
            args.out.write_text(page(done))
    print(f"{args.out}: {sum('tables' in found for found in done.values())} of {len(SCRIPTS)}")


if __name__ == "__main__":
    main()
