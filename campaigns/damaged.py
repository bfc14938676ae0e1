"""Damages checkpoints of ``train`` and ``stdp`` and networks of ``convert``; each must be refused
by name.

Damage is a flipped bit anywhere in the file, a truncation, overwritten or appended bytes, or, with
a correct checksum, a missing key or an impossible number. Refused means: exit code 2, one line that
names the file, and no file changed.
"""

import contextlib
import io
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from journal import Journal, options, trials

from spikeloom.cli import main as command
from spikeloom.train import checkpoint

COMMANDS = {
    "train": ["train", "--hidden", "8", "--steps", "2", "--epochs", "1", "--batch-size", "512"],
    "stdp": [
        "stdp",
        "--neurons",
        "8",
        "--epochs",
        "1",
        "--every",
        "720",
        "--engine",
        "batched",
        "--batch",
        "256",
    ],
    "convert": [
        "convert",
        "--model",
        "mlp",
        "--epochs",
        "1",
        "--max-steps",
        "1",
        "--samples",
        "20",
    ],
}
FILES = {"train": "checkpoint.pt", "stdp": "checkpoint.pt", "convert": "ordinary.pt"}
Damage = Callable[[bytearray, random.Random], bytes]


def flipped(raw: bytearray, chosen: random.Random) -> bytes:
    """Flip one bit."""
    raw[chosen.randrange(len(raw))] ^= 1 << chosen.randrange(8)
    return bytes(raw)


def cut(raw: bytearray, chosen: random.Random) -> bytes:
    """Remove the end."""
    return bytes(raw[: chosen.randrange(len(raw))])


def overwritten(raw: bytearray, chosen: random.Random) -> bytes:
    """Overwrite a piece with noise."""
    place = chosen.randrange(len(raw))
    noise = chosen.randbytes(min(chosen.randrange(1, 4096), len(raw) - place))
    noise = bytes([noise[0] ^ (noise[0] == raw[place]), *noise[1:]])  # differs in one byte at least
    return bytes(raw[:place]) + noise + bytes(raw[place + len(noise) :])


def longer(raw: bytearray, chosen: random.Random) -> bytes:
    """Append bytes."""
    return bytes(raw) + chosen.randbytes(chosen.randrange(1, 100))


def zeros(raw: bytearray, chosen: random.Random) -> bytes:
    """Set a block to zero, as if the disk had never written it."""
    place = chosen.randrange(0, len(raw), 512)
    found = bytes(raw[:place]) + bytes(len(raw[place : place + 512])) + bytes(raw[place + 512 :])
    return found if found != bytes(raw) else flipped(raw, chosen)


BYTES: dict[str, Damage] = {
    each.__name__: each for each in (flipped, cut, overwritten, longer, zeros)
}
NUMBERS: dict[str, dict[str, list[Any]]] = {
    "train": {
        "epoch": [-1, 5, 1.5, None, "1"],
        "batch": [999, -1, True],
        "threads": [0, -3, None],
        "history": [[], [{}], None],
        "tally": [{}, {"samples": -1}],
        "model": [{}, {"1.weight": torch.zeros(3)}],
        "optimizer": [{}, {"state": {}, "param_groups": []}],
        "random": [{}, {"epoch": {}, "now": {}}],
        "seconds": [{}, {"wall": float("nan"), "cpu": 0.0}],
        "settings": [{}, None],
    },
    "stdp": {
        "rows": [None, [[1, 2]], [[9999, 0.0, 0.0, 0.0]]],
        "seconds": [-1.0, "1"],
        "model": [{}],
        "settings": [{}],
    },
    "convert": {
        "epoch": [-1, 9, 1.0],
        "batch": [-1, 99],
        "random": [{}, {"order": None, "now": None}],
        "architecture": [{}, {"kind": "torch.nn.Flatten", "options": {}}],
        "settings": [{}],
    },
}


def changed(path: Path, name: str, chosen: random.Random) -> str:
    """Write a file with a correct checksum and impossible content; return what was changed."""
    state = checkpoint.load(path)
    if chosen.random() < 0.5:
        key = chosen.choice([key for key in state if key != "format"])
        del state[key]
        checkpoint.save(path, state)
        return f"without {key}"
    key = chosen.choice(list(NUMBERS[name]))
    value = chosen.choice(NUMBERS[name][key])
    checkpoint.save(path, {**state, key: value})
    return f"{key} = {str(value)[:40]}"


def run(words: list[str]) -> tuple[int, str]:
    """Exit code and messages of a command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = command([*words, "--quiet"])
    return code, said.getvalue()


def refused(name: str, folder: Path) -> str | None:
    """Resume a run whose file is damaged; what was wrong with the refusal, or None."""
    path = folder / FILES[name]
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    try:
        code, said = run([*COMMANDS[name], "--out", str(folder), "--resume"])
    except Exception as error:  # any traceback is a fault
        return f"{type(error).__name__}: {error}"
    if code != 2 or said.count("\n") != 1 or str(path) not in said:
        return f"code {code}: {said[:300]}"
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    return None if after == before else "files have changed"


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; exit code 1 if a damaged file was not refused by name."""
    args = options(__doc__, 105).parse_args(argv)
    torch.set_num_threads(1)
    sys.modules["matplotlib"] = None  # type: ignore[assignment]  # pictures take most of the time
    journal, whole = Journal(args.out), {}
    for name, words in COMMANDS.items():
        folder = args.out / name
        path = folder / FILES[name]
        code, said = run([*words, "--out", str(folder), "--force"])
        if code:
            raise RuntimeError(f"a run of {name} ended with code {code}: {said}")
        whole[name] = path.read_bytes()
    for number, chosen in trials(journal, args.number, args.seed):
        name = chosen.choice(list(COMMANDS))
        path = args.out / name / FILES[name]
        kind = chosen.choice([*BYTES, "changed"])
        what = ""
        if kind == "changed":
            what = changed(path, name, chosen)
        else:
            path.write_bytes(BYTES[kind](bytearray(whole[name]), chosen))
        journal.add(
            trial=number, kind=f"{name}, {kind}", what=what, wrong=refused(name, path.parent)
        )
        path.write_bytes(whole[name])
    print(journal)
    return journal.code


if __name__ == "__main__":
    sys.exit(main())
