"""Accuracy over seeds and training time of the demo network on the bundled digits, on one thread.

    python benchmarks/digits.py                # README's figures: division 0, five seeds
    python benchmarks/digits.py --split 1 2 3  # the divisions on which settings are chosen

Processor seconds are of training with its evaluations after each epoch; a loaded machine makes them
longer, too.
"""

import argparse
import statistics

import spikeloom.data
from spikeloom.cli.train import EPOCHS, HIDDEN
from spikeloom.train import fit, mlp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", type=int, nargs="+", default=[0], help="division of the digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=EPOCHS.get("digits", 20))
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN["mlp"])
    parser.add_argument("--beta", type=float, default=0.8)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    every = []
    for split in args.split:
        result = fit(
            lambda: mlp([1, 8, 8], 10, args.hidden, beta=args.beta),
            spikeloom.data.digits(split),
            num_steps=args.steps,
            epochs=args.epochs,
            lr=args.lr,
            seeds=args.seeds,
            threads=1,
            progress=False,
        )
        every += result.each
        accuracies = ", ".join(f"{100 * accuracy:.2f}" for accuracy in result.each)
        print(f"division {split}: test accuracy after the last epoch {accuracies} %", flush=True)
        seconds, processor = result.seconds / args.seeds, result.cpu_seconds / args.seeds
        print(
            f"  {processor:.1f} s of processor time, {seconds:.1f} s on the clock, for one "
            "training",
            flush=True,
        )
    spread = statistics.stdev(every) if len(every) > 1 else 0.0
    mean, low = 100 * statistics.fmean(every), 100 * min(every)
    print(f"mean {mean:.2f} %, standard deviation {100 * spread:.2f}, lowest {low:.2f} %")


if __name__ == "__main__":
    main()
