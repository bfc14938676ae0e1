"""Sends signals at random moments of ``train``, ``stdp`` and ``convert``; each run must resume bit
for bit.

A command runs in a child process that receives SIGINT, SIGTERM or SIGKILL after a random part of
the duration of an uninterrupted run. It is then resumed, and interrupted again with probability
1/2, until it ends. Its files must equal those of the uninterrupted run; no other file may remain in
the folder.
"""

import contextlib
import io
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from journal import Journal, options, trials

import spikeloom as snn
from spikeloom.cli import main as command

COMMANDS = {
    "train": [
        *("train", "--hidden", "16", "--steps", "2", "--epochs", "3", "--batch-size", "256"),
        *("--encoding", "rate", "--seeds", "2"),
    ],
    "stdp": ["stdp", "--neurons", "16", "--epochs", "1", "--every", "240"],
    "convert": [
        *("convert", "--model", "mlp", "--epochs", "3", "--max-steps", "2", "--samples", "50"),
        *("--method", "qcfs", "--tune-epochs", "1"),
    ],
}
FIRST = {"train": "checkpoint.pt", "stdp": "checkpoint.pt", "convert": "ordinary.pt"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
CODES = {
    0,
    130,
    -signal.SIGKILL,
    -signal.SIGTERM,
}  # the last one before the command has taken the signal over
CHANGES = {"time", "cpu_seconds", "seconds"}  # entries that no two runs share
PATIENCE = 600.0  # seconds after which a run counts as hanging


def start(words: list[str], log: Path) -> int:
    """Run a command in a child process that has everything imported already; returns its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = quietly(words, log)
    except NotBegun:
        code = 130
    except BaseException:  # the child must not continue with the campaign
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
    os._exit(code)


class NotBegun(Exception):
    """A signal came before the command was called, which cannot answer it."""


def quietly(words: list[str], log: Path) -> int:
    """Run a command in this process, its messages going to a file; returns its exit code."""
    begun = False
    printed = contextlib.redirect_stdout(io.StringIO())
    try:
        with log.open("w", encoding="utf-8") as file, contextlib.redirect_stderr(file), printed:
            begun = True
            return command(words)
    except KeyboardInterrupt as error:
        if begun:
            raise
        raise NotBegun from error


def ended(child: int, patience: float) -> int | None:
    """Exit code of a child process, negative for a signal; None if it still runs after so many
    seconds."""
    until = time.monotonic() + patience
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def result(folder: Path) -> dict[str, Any]:
    """What a finished run has written, as values that can be compared; pictures by their names
    alone."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            found[path.name] = str(
                {name: value for name, value in content.items() if name not in CHANGES}
            )
        elif path.suffix == ".safetensors":
            found[path.name] = dict(snn.load(path).state_dict())
        elif path.suffix == ".pt":
            content = torch.load(path, weights_only=True)
            found[path.name] = {
                name: value for name, value in content.items() if name not in CHANGES
            }
        else:
            found[path.name] = None
    return found


def differs(a: Any, b: Any, where: str = "") -> str | None:
    """The first place in which two nested values differ, NaN being equal to itself."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return (
            None
            if a.shape == b.shape and a.dtype == b.dtype and bytes_of(a) == bytes_of(b)
            else where
        )
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"{where} has {sorted(map(str, a.keys() ^ b.keys()))} once"
        inside = (differs(a[name], b[name], f"{where}/{name}") for name in a)
        return next((found for found in inside if found is not None), None)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        inside = (differs(x, y, f"{where}/{i}") for i, (x, y) in enumerate(zip(a, b, strict=True)))
        return next((found for found in inside if found is not None), None)
    return None if repr(a) == repr(b) else where


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def disturbed(
    name: str, folder: Path, seconds: float, chosen: random.Random
) -> tuple[list[str], str | None]:
    """Run a command with signals until it ends; returns them, and what was wrong with a process."""
    words = [*COMMANDS[name], "--out", str(folder)]
    sent: list[str] = []
    log = folder.with_suffix(".log")
    while True:
        more = ["--resume"] if (folder / FIRST[name]).exists() else []
        child = start([*words, *more], log)
        if sent and chosen.random() < 0.5:
            code = ended(child, PATIENCE)
        else:
            number = chosen.choice(SIGNALS)
            code = ended(child, chosen.random() * seconds)
            if code is None:
                sent.append(number.name)
                os.kill(child, number)
                code = ended(child, PATIENCE)
        text = (
            log.read_text(encoding="utf-8") if log.exists() else ""
        )  # it may be killed before it writes
        if code not in CODES or ("Traceback" in text and "Exception ignored in" not in text):
            if code is None:
                os.kill(child, signal.SIGKILL)
            return sent, f"code {code}: {text[-500:]}"
        if code == 0:
            return sent, None


def trial(
    name: str, folder: Path, whole: tuple[dict[str, Any], float], chosen: random.Random
) -> dict[str, Any]:
    """One command with its signals, and whether its result is the undisturbed one."""
    sent, wrong = disturbed(name, folder, whole[1], chosen)
    if wrong is None:
        place = differs(whole[0], result(folder))
        wrong = None if place is None else f"the result differs: {place}"
    if wrong is None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return {"kind": name, "signals": sent, "wrong": wrong}


def undisturbed(name: str, folder: Path) -> tuple[dict[str, Any], float]:
    """The result of a run without signals, and the seconds that it takes."""
    log = folder.with_suffix(".log")
    words = [
        *COMMANDS[name],
        "--out",
        str(folder),
        "--resume" if (folder / FIRST[name]).exists() else "--force",
    ]
    code = quietly(words, log)  # in this process, so that its children find everything imported
    if code != 0:
        raise RuntimeError(f"an undisturbed run ended with code {code}; read {log}")
    again = folder.with_name(f"{name}-again")
    begin = time.monotonic()
    ended(start([*COMMANDS[name], "--out", str(again), "--force"], log), PATIENCE)
    seconds = time.monotonic() - begin
    place = differs(result(folder), result(again))
    if place is not None:
        raise RuntimeError(f"two undisturbed runs of {name} differ: {place}")
    return result(folder), seconds


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; exit code 1 if a run did not resume exactly."""
    parser = options(__doc__, 200)
    parser.add_argument(
        "--pictures", action="store_true", help="draw them, which takes most of the time of a run"
    )
    parser.add_argument(
        "--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), help="to disturb"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if not args.pictures:
        sys.modules["matplotlib"] = None  # type: ignore[assignment]
    journal = Journal(args.out)
    whole = {name: undisturbed(name, args.out / f"{name}-whole") for name in args.commands}
    signals = sum(len(row["signals"]) for row in journal.rows)
    for number, chosen in trials(journal, 10 * args.number, args.seed):
        if signals >= args.number:
            break
        name = chosen.choice(args.commands)
        row = trial(name, args.out / f"trial-{number}", whole[name], chosen)
        journal.add(trial=number, **row)
        signals += len(row["signals"])
    print(f"{journal}\n{signals} signals")
    return journal.code


if __name__ == "__main__":
    sys.exit(main())
