"""Runs numbered cases in a child process, so that a crash or a hang is recorded and the campaign
continues.

A campaign script calls `campaign` with a function that runs one case. The script starts itself
again as a worker, which prints one line of JSON for each case. The parent waits for each line. If a
worker dies or prints nothing for too long, the parent records this for the current case, with the
current line of Python, and starts a new worker at the next case. Crashes inside libhdf5 are counted
separately, since they are no fault of this package. All lines go to one file; a second run with the
same file continues at the first missing case.
"""

import argparse
import faulthandler
import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["campaign"]

Case = Callable[[int, int], dict[str, Any]]
FAULTS = ("undocumented", "crash", "hang", "silent")
STARTUP_S = 600.0  # for importing torch, on a machine with other work and at a low priority


def campaign(
    script: str, unit: str, default: int, kind: Callable[[int], str], case: Callable[[], Case]
) -> int:
    """Run a campaign from the command line.

    Args:
        script: path of the campaign's script.
        unit: what is counted, for the texts.
        default: number of cases.
        kind: what a case with a number is about; the rows of the table.
        case: makes the function of seed and number that runs one case; called in the worker only,
            so that the parent imports nothing heavy. The result has the keys outcome and detail.

    Returns:
        Exit status: 1 if there is a fault.
    """
    parser = argparse.ArgumentParser(prog=Path(script).name)
    parser.add_argument("--number", type=int, default=default, help=f"number of {unit}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one")
    parser.add_argument("--out", type=Path, help="file of results, continued if it exists")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        with open(options.worker, "w", encoding="utf-8") as trace:
            faulthandler.enable(trace)
            _work(case(), options, trace)
        return 0
    out = options.out or Path("runs") / f"{Path(script).stem}-{options.seed}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    done = _lines(out)
    start = max((line["case"] for line in done), default=options.first - 1) + 1
    with open(out, "a", encoding="utf-8") as log:
        for line in _watched(script, options, start):
            log.write(json.dumps({"kind": kind(line["case"]), **line}) + "\n")
            log.flush()
    return _report(_lines(out), unit, out)


def _work(case: Case, options: argparse.Namespace, trace: Any) -> None:
    """Run cases and print a line for each, on a copy of stdout that nothing else writes to."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    channel.write(json.dumps({"ready": True}) + "\n")
    channel.flush()
    for number in range(options.first, options.number):
        faulthandler.dump_traceback_later(0.8 * options.timeout, file=trace)
        channel.write(json.dumps({"case": number, **case(options.seed, number)}) + "\n")
        channel.flush()
    faulthandler.cancel_dump_traceback_later()


def _watched(script: str, options: argparse.Namespace, start: int) -> Iterator[dict[str, Any]]:
    """The lines of workers that are started anew behind each case that ends one."""
    while start < options.number:
        with tempfile.NamedTemporaryFile(suffix=".trace") as trace:
            command = [sys.executable, "-W", "ignore", script, "--worker", trace.name]
            for name, value in (
                ("seed", options.seed),
                ("first", start),
                ("number", options.number),
            ):
                command += [f"--{name}", str(value)]
            command += ["--timeout", str(options.timeout)]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            ready = False
            for line in _read(worker, options.timeout):
                ready = True
                if "case" in line:
                    yield line
                    start = line["case"] + 1
            hung = worker.poll() is None
            worker.kill()
            worker.wait()
            if start < options.number:
                if not ready:
                    raise RuntimeError(f"the worker does not start; run: {' '.join(command)}")
                yield _ended(start, hung, Path(trace.name))
                start += 1


def _ended(number: int, hung: bool, trace: Path) -> dict[str, Any]:
    """The line of a case that ended its worker."""
    frames = [line.strip() for line in trace.read_text().splitlines() if line.startswith("  File")]
    place = frames[0] if frames else "no Python frame"
    outcome = "hang" if hung else "crash"
    if "/h5py/" in place:
        return {"case": number, "outcome": "libhdf5", "detail": f"{outcome} at {place}"}
    return {"case": number, "outcome": outcome, "detail": place}


def _read(worker: "subprocess.Popen[bytes]", timeout: float) -> Iterator[dict[str, Any]]:
    """Lines of JSON until the worker ends or is silent for longer than the timeout."""
    assert worker.stdout is not None
    rest = b""
    patience = STARTUP_S
    while select.select([worker.stdout], [], [], patience)[0]:
        piece = os.read(worker.stdout.fileno(), 1 << 16)
        if not piece:
            worker.wait()
            return
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield json.loads(line)
        patience = timeout


def _lines(out: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of results; the last one of a killed run may be cut."""
    found = []
    for line in out.read_text(encoding="utf-8").splitlines() if out.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def _report(lines: list[dict[str, Any]], unit: str, out: Path) -> int:
    """Print the figures."""
    counts = Counter((line["kind"], line["outcome"]) for line in lines)
    outcomes = sorted({outcome for _, outcome in counts})
    print(f"{'':28}" + "".join(f"{outcome:>14}" for outcome in outcomes))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:28}" + "".join(f"{counts[kind, outcome]:14}" for outcome in outcomes))
    faults = [line for line in lines if line["outcome"] in FAULTS]
    print(f"{len(lines)} {unit}, {len(faults)} faults, all results in {out}")
    seen: set[str] = set()
    for line in faults:
        if line["detail"] not in seen:
            seen.add(line["detail"])
            print(f"case {line['case']} ({line['kind']}, {line['outcome']}): {line['detail']}")
    return 1 if faults else 0
