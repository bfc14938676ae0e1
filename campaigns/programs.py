"""Compares thousands of random programs, recorded and plain.

    python campaigns/programs.py 2000 [--from 0] [--style class] [--out programs.json] [--show 5]

Prints how many were equal, how many fail in the plain loop itself (nothing is compared then), how
many were refused with a message, and how many differ, with seed, text and difference. With
``--out`` an interrupted campaign continues where it stopped. Exits with 1 if a program differs.
"""

import argparse
import collections
import functools
import json
import sys
from pathlib import Path

import torch

import spikeloom as snn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from laws.programs.padded import check_padded
from laws.programs.verdict import Verdict, check

SAVE_EVERY = 50


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("number", type=int, help="how many programs")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument(
        "--style",
        choices=("class", "function", "step", "checkpoint", "padded"),
        help='programs of one style only; "checkpoint": networks of one step with '
        'memory="checkpoint"; "padded": networks on recordings of unequal length',
    )
    parser.add_argument("--out", type=Path, help="where the words of finished seeds are kept")
    parser.add_argument(
        "--show", type=int, default=5, help="how many differing programs are printed in full"
    )
    return parser.parse_args()


def judged(seed: int, style: str | None) -> Verdict | str:
    """The verdict, or what the comparison itself raised."""
    try:
        if style == "padded":
            return check_padded(seed)
        if style == "checkpoint":
            run = functools.partial(snn.run, memory="checkpoint")
            return check(seed, snn.layerwise, "step", run)
        return check(seed, snn.layerwise, style)
    except Exception as error:  # one program must not end a campaign
        return f"seed {seed}, crash: {type(error).__name__}: {error}"


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    kept = args.out.exists() if args.out else False
    words: dict[str, str] = json.loads(args.out.read_text()) if kept else {}
    shown = 0
    for seed in range(args.first, args.first + args.number):
        if str(seed) in words:
            continue
        verdict = judged(seed, args.style)
        word = "crash" if isinstance(verdict, str) else verdict.word
        words[str(seed)] = word
        if word in ("different", "crash", "refused"):
            full = word != "refused" and shown < args.show
            shown += full
            print(verdict if full else repr(verdict).splitlines()[0][:200], flush=True)
        if args.out and len(words) % SAVE_EVERY == 0:
            args.out.write_text(json.dumps(words))
    if args.out:
        args.out.write_text(json.dumps(words))
    counts = collections.Counter(words.values())
    print(
        f"{len(words)} programs: "
        + ", ".join(f"{number} {word}" for word, number in counts.most_common())
    )
    sys.exit(1 if counts["different"] or counts["crash"] else 0)


if __name__ == "__main__":
    main()
