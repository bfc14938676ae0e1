"""The tutorials at full length on MNIST, and the figures that they have to reach.

    python benchmarks/tutorials.py FOLDER                      # all with a goal; needs mnist.npz
    python benchmarks/tutorials.py FOLDER tutorial_5_training  # some

Each tutorial is a process of its own on one thread. Processor seconds are of the whole script, with
its pictures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
GOALS = {  # tutorial: (figure, lowest, highest)
    "tutorial_5_training": ("test_accuracy", 0.938, 1.0),
    "tutorial_6_convolutional_network": ("test_accuracy", 0.97, 1.0),
    "tutorial_7_event_data": ("test_accuracy", 0.8, 1.0),
    "population_coding": ("gain", 0.01, 1.0),
    "regression_1": ("relative_error", 0.0, 0.03),
    "regression_2": ("accuracy_counts", 0.9, 1.0),
    "autoencoder": ("test_loss", 0.0, 0.05),
    "exoplanets": ("auc_step", 0.9, 1.0),
    "st_mnist": ("test_accuracy", 0.65, 1.0),
    "chaos": ("weight_plain", 0.3975, 0.4015),
    "real_neuron": ("gamma_refractory", 0.4, 1.0),
    "accelerators": ("test_accuracy", 0.9, 1.0),
}


def run(name: str, folder: Path) -> tuple[dict[str, float], float]:
    """What a tutorial reports, and its processor seconds."""
    threads = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    settings = {**os.environ, **threads, "SPIKELOOM_DATA": str(folder), "SPIKELOOM_SMOKE": "0"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = [sys.executable, str(TUTORIALS / f"{name}.py")]
    printed = subprocess.run(
        script, env=settings, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return json.loads(printed.splitlines()[-1]), seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with MNIST")
    parser.add_argument(
        "names", nargs="*", metavar="tutorial", help="default: all that have a goal"
    )
    args = parser.parse_args()
    unknown = set(args.names) - set(GOALS)
    if unknown:
        parser.error(f"no goal for {', '.join(sorted(unknown))}; choose from {', '.join(GOALS)}")
    print(
        f"{'tutorial':34s} {'figure':16s} {'reached':>9s} {'goal':>15s} {'':5s} "
        f"{'processor s':>11s}",
        flush=True,
    )
    missed = []
    for name in args.names or GOALS:
        figure, low, high = GOALS[name]
        found, seconds = run(name, args.folder)
        reached = low <= found[figure] <= high
        missed += [] if reached else [name]
        goal = f"<= {high:g}" if low == 0 else f">= {low:g}"
        verdict = "yes" if reached else "NO"
        print(
            f"{name:34s} {figure:16s} {found[figure]:9.4f} {goal:>15s} {verdict:5s} "
            f"{seconds:11.0f}",
            flush=True,
        )
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
