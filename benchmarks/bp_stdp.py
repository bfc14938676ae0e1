"""Accuracy of BP-STDP: MNIST with one and two hidden layers, Iris in five folds, XOR; last epoch.

    python benchmarks/bp_stdp.py --data DIR --out bp_stdp.json  # the rows of docs/rules.md
    python benchmarks/bp_stdp.py --smoke                        # Iris and XOR, one seed, few epochs

Without --data the rows of MNIST are left out. Every finished seed is appended to the file that
--out names, and is not computed again: an interrupted run goes on where it stopped. One thread.
"""

import argparse
import itertools
import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import asked, each_seed, kept, machine, spread
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data
from spikeloom.data import Split

ROWS: dict[str, dict[str, Any]] = {
    "MNIST 784-1000-10": {"hidden": [1000], "epochs": 2, "batch_size": 32, "lr": 0.016},
    "MNIST 784-500-150-10": {"hidden": [500, 150], "epochs": 4, "batch_size": 32, "lr": 0.016},
    "Iris 4-30-3": {"hidden": [30], "epochs": 40, "batch_size": 8, "lr": 0.003},
    "XOR 2-20-2": {"hidden": [20], "epochs": 40, "batch_size": 4, "lr": 0.003},
}
FOLDS = 5


def network(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    """Integrate-and-fire neurons with the published thresholds; the few inputs of Iris and XOR need
    a bias."""
    few = inputs < 10
    sizes = [inputs, *hidden, outputs]
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(itertools.pairwise(sizes)):
        last = place == len(hidden)
        linear = nn.Linear(before, after, bias=few)
        nn.init.normal_(linear.weight, std=0.5 if few else 0.1)
        if few:
            nn.init.zeros_(linear.bias)
        threshold = 0.025 * before if last else 0.9
        layers += [linear, snn.IF(threshold, reset_mechanism="zero", init_hidden=True, output=last)]
    return nn.Sequential(*layers)


def regular(x: Tensor, num_steps: int) -> Tensor:
    """Spike trains with equal intervals: a value is the number of spikes a step."""
    steps = torch.arange(num_steps + 1, dtype=x.dtype).reshape(-1, *[1] * x.dim())
    return (x * steps).floor().diff(dim=0)


def iris_folds() -> list[Split]:
    """Five divisions of Iris in which every flower is tested once."""
    whole = data.iris()
    x, y = torch.cat([whole.x_train, whole.x_test]), torch.cat([whole.y_train, whole.y_test])
    order = torch.from_numpy(np.argsort(y.numpy(), kind="stable"))  # every class in every fold
    folds = []
    for number in range(FOLDS):
        test = order[number::FOLDS]
        rest = torch.tensor([i for i in range(len(y)) if i not in set(test.tolist())])
        folds.append(Split(x[rest], y[rest], x[test], y[test], "Iris", f"fold {number} of {FOLDS}"))
    return folds


def xor() -> Split:
    """Two values, low (0.2) or high (1); the class is whether they differ."""
    x = torch.tensor([[0.2, 0.2], [0.2, 1.0], [1.0, 0.2], [1.0, 1.0]])
    y = torch.tensor([0, 1, 1, 0])
    return Split(x.repeat(10, 1), y.repeat(10), x, y, "XOR", "four patterns, ten times an epoch")


def trained(name: str, row: dict[str, Any], splits: list[Split], seed: int) -> dict[str, Any]:
    """Train on every split; the accuracy is the share of all test samples."""
    small = not name.startswith("MNIST")
    hits, number, seconds, spikes = 0.0, 0, 0.0, []
    for split in splits:
        result = snn.fit(
            lambda split=split: network(split.x_train.shape[1], row["hidden"], split.num_classes),
            split,
            num_steps=24 if small else 20,
            encode=regular if small else "rate",
            rule="bp_stdp",
            epochs=row["epochs"],
            batch_size=row["batch_size"],
            lr=row["lr"],
            seed=seed,
            threads=1,
            progress=False,
        )
        hits, number = (
            hits + result.test_accuracy.last * len(split.y_test),
            number + len(split.y_test),
        )
        seconds += result.cpu_seconds
        spikes.append(result.history[-1]["spike_rate"])
    return {
        "seed": seed,
        "accuracy": 100 * hits / number,
        "cpu_seconds": seconds,
        "spike_rate": statistics.fmean(spikes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with MNIST")
    parser.add_argument("--out", type=Path, help="JSON file to which finished seeds are appended")
    parser.add_argument(
        "--rows", nargs="+", metavar="TEXT", help="rows whose name holds one of these texts"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one seed, few epochs, no MNIST")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = kept(args.out)
    for name, row in ROWS.items():
        mnist = name.startswith("MNIST")
        if not asked(name, args.rows) or (mnist and (args.smoke or not args.data)):
            continue
        splits = (
            [data.mnist(args.data, flat=True)]
            if mnist
            else iris_folds()
            if "Iris" in name
            else [xor()]
        )
        row = {**row, "epochs": 5} if args.smoke else row
        train = partial(trained, name, row, splits)
        spread(name, each_seed(done, name, 1 if args.smoke else args.seeds, train, args.out))
    print(json.dumps({"machine": machine(), "rows": done}))


if __name__ == "__main__":
    main()
