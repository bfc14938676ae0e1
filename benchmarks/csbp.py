"""CSBP against plain backpropagation, fairly: same networks, batches and seeds, accuracy after the
last epoch.

    python benchmarks/csbp.py --data FOLDER --results csbp.json  # digits, MNIST, CIFAR-10 subset
    python benchmarks/csbp.py --results csbp.json --only digits  # what needs no files
    python benchmarks/csbp.py --smoke                            # seconds, two seeds, for the tests

Finished runs are kept in the results file and not repeated. Compared are plain BPTT; CSBP as in the
authors' training code (z = 15, scale 10, mean, 0.95 per epoch); CSBP made chaotic (A = 3.5,
annealed by 0.8 per epoch and switched off below the flip at 2), centred at 0 or at the threshold;
and Gaussian noise of the size of the latter. The settings were fixed beforehand on another division
of the digits. Differences to plain BPTT are paired by seed, their intervals Student's t at 95 %.
"""

import argparse
import json
import math
import os
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import report
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data
from spikeloom.chaos import CSBP, A, ChaosWarning, Exponential, Until, Z, lif

PHASE = Until(2.0, 0.8, per="epoch")
CONTENDERS: dict[str, CSBP | None] = {
    "plain": None,
    "CSBP, authors": CSBP(Z(15.0), scale=10.0, anneal=Exponential(0.95, per="epoch")),
    "CSBP, chaotic": CSBP(A(3.5), anneal=PHASE),
    "CSBP, chaotic, centred": CSBP(A(3.5), center="threshold", anneal=PHASE),
    "Gaussian noise": CSBP(A(3.5), center="threshold", anneal=PHASE, drive="noise"),
}
# Student's t at 97.5 % by degrees of freedom, for two to ten seeds
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class Task(NamedTuple):
    load: Callable[[Path | None], data.Split]
    net: Callable[[], nn.Sequential]
    num_steps: int
    epochs: int
    batch_size: int
    lr: float


def perceptron(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, hidden), lif(init_hidden=True), nn.Linear(hidden, 10)
    )


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), lif(init_hidden=True), nn.AvgPool2d(2)),
        *(
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            lif(init_hidden=True),
            nn.AvgPool2d(4),
        ),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )


def part(split: data.Split, train: int, test: int) -> data.Split:
    x_train, y_train, x_test, y_test = (
        v[:n] for v, n in zip(split[:4], (train, train, test, test), strict=True)
    )
    return split._replace(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def folder(root: Path | None) -> Path:
    if root is None:
        raise SystemExit(
            "MNIST and the CIFAR-10 subset need --data FOLDER; --only digits needs no files"
        )
    return root


TASKS = {
    "digits": Task(lambda _: data.digits(1), lambda: perceptron(64, 64), 6, 20, 64, 0.5),
    "mnist": Task(
        lambda root: part(data.mnist(folder(root)), 6000, 2000),
        lambda: perceptron(784, 128),
        5,
        10,
        64,
        0.5,
    ),
    "cifar10_jpeg": Task(
        lambda root: data.cifar10_jpeg(folder(root), num_train=1000, num_test=1000),
        convolutional,
        4,
        6,
        64,
        0.2,
    ),
}


def cross_entropy_of_mean(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.mean(0), labels)


def train(
    task: Task, split: data.Split, chaos: CSBP | None, seed: int, epochs: int
) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ChaosWarning)
        result = snn.fit(
            task.net,
            split,
            num_steps=task.num_steps,
            epochs=epochs,
            batch_size=task.batch_size,
            loss=cross_entropy_of_mean,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=task.lr),
            schedule="cosine",
            chaos=chaos,
            seed=seed,
            threads=1,
            progress=False,
        )
    return {
        "last": result.test_accuracy.last,
        "best": result.test_accuracy.best,
        "after each epoch": [row["test_accuracy"] for row in result.history],
        "cpu seconds": round(result.cpu_seconds, 1),
        "warnings": sorted({str(w.message) for w in seen if issubclass(w.category, ChaosWarning)}),
    }


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval."""
    if len(values) < 2:
        return values[0], math.inf
    return statistics.fmean(values), T975[len(values) - 1] * statistics.stdev(values) / math.sqrt(
        len(values)
    )


def table(runs: dict[str, Any], name: str, seeds: int) -> list[dict[str, Any]]:
    rows = []
    plain = [runs[f"{name}|plain|{seed}"]["last"] for seed in range(seeds)]
    for contender in CONTENDERS:
        found = [runs[f"{name}|{contender}|{seed}"] for seed in range(seeds)]
        last = [run["last"] for run in found]
        mean, half = interval([100 * v for v in last])
        gain, margin = interval([100 * (v - p) for v, p in zip(last, plain, strict=True)])
        rows.append(
            {
                "contender": contender,
                "last epoch [%]": f"{mean:.2f} +- {half:.2f}",
                "minus plain": "" if contender == "plain" else f"{gain:+.2f} +- {margin:.2f}",
                "best epoch [%]": round(100 * statistics.fmean(run["best"] for run in found), 2),
                "CPU s": round(statistics.fmean(run["cpu seconds"] for run in found), 1),
                "each": [round(100 * v, 2) for v in last],
                "warned": found[0]["warnings"],
            }
        )
    return rows


def keep(path: Path | None, runs: dict[str, Any]) -> None:
    if path is not None:
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(runs, indent=1), encoding="utf-8")
        os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="folder with mnist.npz and cifar10_jpeg_subset.npz"
    )
    parser.add_argument(
        "--results", type=Path, help="JSON file of finished runs, continued if it exists"
    )
    parser.add_argument(
        "--only", nargs="+", choices=TASKS, default=list(TASKS), help="some of the tasks"
    )
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 11), metavar="2..10")
    parser.add_argument("--smoke", action="store_true", help="digits, two seeds, one epoch")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names, seeds = (["digits"], 2) if args.smoke else (args.only, args.seeds)
    runs = (
        json.loads(args.results.read_text())
        if args.results is not None and args.results.exists()
        else {}
    )
    for name in names:
        task = TASKS[name]
        split = task.load(args.data)
        for seed in range(seeds):
            for contender, chaos in CONTENDERS.items():
                key = f"{name}|{contender}|{seed}"
                if key not in runs:
                    runs[key] = train(task, split, chaos, seed, 1 if args.smoke else task.epochs)
                    keep(args.results, runs)
        rows = table(runs, name, seeds)
        shown = [{k: v for k, v in row.items() if k not in ("each", "warned")} for row in rows]
        report(
            f"{name}: {len(split.x_train)} training, {len(split.x_test)} test samples, {seeds} "
            "seeds",
            shown,
        )
        print(json.dumps({"task": name, "rows": rows}), flush=True)


if __name__ == "__main__":
    main()
