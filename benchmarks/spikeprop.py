"""SpikeProp on its three classical tasks: Iris, XOR in spike times, and the Wisconsin breast cancer
set.

    python benchmarks/spikeprop.py --out spikeprop.json  # the rows of docs/spike_times.md
    python benchmarks/spikeprop.py --tasks iris --smoke

Iris and cancer: two-fold cross-validation, each seed another division; the test accuracy after the
last epoch counts. The four measures of a flower vary together: on Iris each training sample is
moved, anew at every presentation, by the difference of two training samples of its class, so that
what is learned is the class and not 75 flowers. XOR: solved if the squared error falls below 1
within 250 presentations of the four patterns. One thread; the sets come with scikit-learn. Settings
were chosen on the divisions 10 to 17, figures are of the divisions 0 to 4.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from common import machine
from torch import Tensor, nn

from spikeloom import data
from spikeloom.core.checks import require
from spikeloom.learning import SpikeProp, first_times, push_silent
from spikeloom.spikegen import population_times

UNTIL, ON, OFF = 40.0, 12.0, 16.0
TASKS: dict[str, dict[str, Any]] = {
    "iris": {"fields": 12, "hidden": 10, "epochs": 50, "batch": 25, "lr": 0.01, "varied": 1.0},
    "cancer": {"fields": 7, "hidden": 15, "epochs": 20, "batch": 50, "lr": 0.01, "varied": 0.0},
}


def samples(task: str) -> tuple[Tensor, Tensor]:
    """All samples in [0, 1], and their classes."""
    if task == "iris":
        split = data.iris()
        return torch.cat([split.x_train, split.x_test]), torch.cat([split.y_train, split.y_test])
    bundle = require(
        "sklearn.datasets", extra="data", purpose="this benchmark"
    ).load_breast_cancer()
    x = torch.from_numpy(bundle.data).float()
    return (x - x.min(0).values) / (x.max(0).values - x.min(0).values), torch.from_numpy(
        bundle.target
    ).long()


def step(
    net: nn.Sequential, optimizer: torch.optim.Optimizer, times: Tensor, wanted: Tensor
) -> float:
    """One change of the weights, towards the wanted spike times."""
    hidden = net[0](times)
    spikes = net[1](hidden)
    loss = 0.5 * ((first_times(spikes, UNTIL) - wanted) ** 2).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    push_silent(net[0].weight, hidden, 1e-3)  # pyright: ignore[reportArgumentType]
    push_silent(net[1].weight, spikes, 1.0)  # pyright: ignore[reportArgumentType]
    optimizer.step()
    return loss.item()


def coded(x: Tensor, fields: int) -> Tensor:
    """Spike times of samples, and of a bias that fires at the beginning."""
    return torch.cat(
        [population_times(x.clamp(0, 1), fields).flatten(1), torch.zeros(len(x), 1)], 1
    )


def varied(x: Tensor, y: Tensor, part: Tensor, pool: Tensor, size: float) -> Tensor:
    """Samples, each moved by the difference of two of its class; with ``size`` 1 that has their
    covariance."""
    same = (y[part][:, None] == y[pool][None]).float()
    one, two = x[pool[torch.multinomial(same, 2)]].unbind(1)
    return x[part] + size * (one - two) / 2**0.5


def fold(
    task: dict[str, Any], x: Tensor, y: Tensor, train: Tensor, test: Tensor
) -> dict[str, float]:
    """Train on one part and judge on the other."""
    classes, times = int(y.max()) + 1, coded(x, task["fields"])
    net = nn.Sequential(
        SpikeProp(times.shape[1], task["hidden"], until=UNTIL),
        SpikeProp(task["hidden"], classes, until=UNTIL),
    )
    optimizer = torch.optim.Adam(net.parameters(), task["lr"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, task["epochs"] * -(-len(train) // task["batch"])
    )
    wanted = torch.where(nn.functional.one_hot(y, classes).bool(), ON, OFF)
    start = time.process_time()
    for _ in range(task["epochs"]):
        for part in train[torch.randperm(len(train))].split(task["batch"]):
            shown = times[part]
            if task["varied"]:
                shown = coded(varied(x, y, part, train, task["varied"]), task["fields"])
            step(net, optimizer, shown, wanted[part])
            schedule.step()
    seconds = time.process_time() - start
    with torch.no_grad():
        right = first_times(net(times[test]), torch.inf).argmin(1) == y[test]
    return {
        "accuracy": 100 * right.double().mean().item(),
        "speed": task["epochs"] * len(train) / seconds,
    }


def classify(name: str, seed: int) -> dict[str, float]:
    """Two folds of one division."""
    task = TASKS[name]
    x, y = samples(name)
    halves = [torch.as_tensor(half) for half in data.stratified(y.numpy(), len(y) // 2, seed)]
    torch.manual_seed(seed)
    folds = [fold(task, x, y, a, b) for a, b in (halves, halves[::-1])]
    return {key: statistics.fmean(one[key] for one in folds) for key in folds[0]}


def xor(seed: int) -> dict[str, float]:
    """Number of presentations until XOR is solved; 250 if it is not."""
    torch.manual_seed(seed)
    times, wanted = data.xor_times()
    net = nn.Sequential(SpikeProp(3, 5, until=UNTIL), SpikeProp(5, 1, until=UNTIL))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for shown in range(250):
        if (
            8 * step(net, optimizer, times, wanted) < 1.0
        ):  # the loss is half the mean of four squares
            return {"solved": 100.0, "presentations": shown}
    return {"solved": 0.0, "presentations": 250}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON file to which finished seeds are appended")
    parser.add_argument(
        "--tasks", nargs="+", default=["iris", "xor", "cancer"], choices=["iris", "xor", "cancer"]
    )
    parser.add_argument("--seeds", type=int, help="default: 5, and 100 for XOR")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--smoke", action="store_true", help="one seed, two epochs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.smoke:
        args.seeds = 1
        for task in TASKS.values():
            task["epochs"] = 2
    done: dict[str, dict[str, Any]] = (
        json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    )
    rows = []
    for name in args.tasks:
        finished = done.setdefault(name, {})
        seeds = args.seeds or (100 if name == "xor" else 5)
        for seed in range(args.first, args.first + seeds):
            if str(seed) not in finished:
                finished[str(seed)] = xor(seed) if name == "xor" else classify(name, seed)
                print(f"  {name}, seed {seed}: {finished[str(seed)]}", flush=True)
            if args.out:
                args.out.write_text(json.dumps(done, indent=1))
        rows.append(summary(name, list(finished.values())))
        print(rows[-1])
    print(json.dumps({"machine": machine(), "rows": rows}))


def summary(name: str, finished: list[dict[str, float]]) -> dict[str, Any]:
    """Means over the seeds, and the spread of the first figure."""
    row: dict[str, Any] = {"task": name, "seeds": len(finished)}
    for key in finished[0]:
        row[key] = statistics.fmean(one[key] for one in finished)
    first = next(iter(finished[0]))
    row["spread"] = statistics.stdev(one[first] for one in finished) if len(finished) > 1 else 0.0
    return row


if __name__ == "__main__":
    main()
