"""Exact gradients on their two tasks: the Yin-Yang set, and MNIST with one spike for each pixel.

    python benchmarks/eventprop.py --out eventprop.json                           # Yin-Yang
    python benchmarks/eventprop.py --tasks mnist --data DIR --out eventprop.json  # 350 hidden
    python benchmarks/eventprop.py --smoke

Both networks have one hidden layer of current-based LIF neurons without time steps, and learn by
cross entropy of the first spikes of the outputs. The test accuracy after the last epoch counts. One
thread; every finished seed is appended to the file that --out names and not computed again. Times
are in ms.
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
from spikeloom.learning import EventLIF, first_spike_loss, first_times, push_silent

TASKS: dict[str, dict[str, Any]] = {
    "yin_yang": {
        "hidden": {"neurons": 200, "mean": 2.5, "std": 1.2, "max_spikes": 1},
        "output": {"mean": 0.05, "std": 0.1},
        "until": 60.0,
        "slope_floor": 0.1,
        "epochs": 45,
        "batch": 32,
        "lr": 5e-3,
        "output_lr": 5e-3,
        "push": 1e-4,
        "rare": 1.1,  # all are pushed in the samples in which they are silent
        "loss": {"tau": 0.5, "early": 3e-3, "tau_early": 6.4},
    },
    "mnist": {
        "hidden": {"neurons": 350, "mean": 0.1, "std": 0.1, "max_spikes": 1},
        "output": {"mean": 0.1, "std": 0.2},
        "until": 20.0,
        "slope_floor": 0.1,
        "epochs": 28,
        "batch": 100,
        "lr": 7e-3,
        "output_lr": 7e-3,
        "push": 1e-3,
        "rare": 0.05,  # those are pushed that fire in fewer samples of a batch than this
        "loss": {"tau": 0.4, "early": 0.03, "tau_early": 10.0},
        # of the images, which are shifted by up to one pixel in each direction, batch by batch
        "side": 28,
    },
}


def yin_yang() -> tuple[data.Split, Tensor, Tensor]:
    """Four coordinates as spikes from 10 to 40 ms, and a bias at 20 ms."""
    split = data.yin_yang()
    times = [
        torch.cat([10 + 30 * x, x.new_full((len(x), 1), 20.0)], 1)
        for x in (split.x_train, split.x_test)
    ]
    return split, times[0], times[1]


def mnist(folder: str) -> tuple[data.Split, Tensor, Tensor]:
    """One spike for each pixel that is not dark, from 0 to 20 ms, the brighter the earlier."""
    split = data.mnist(folder, flat=True)
    times = [torch.where(x > 0.1, 20 * (1 - x), torch.inf) for x in (split.x_train, split.x_test)]
    return split, times[0], times[1]


def network(task: dict[str, Any], inputs: int, classes: int) -> nn.Sequential:
    """One hidden layer."""
    size = task["hidden"]["neurons"]
    same = {"until": task["until"], "slope_floor": task["slope_floor"]}
    hidden = EventLIF(inputs, **task["hidden"], **same)
    return nn.Sequential(hidden, EventLIF(size, classes, **task["output"], max_spikes=1, **same))


def shifted(times: Tensor, side: int) -> Tensor:
    """Spike times of images, all moved alike by -1, 0 or 1 pixels down and right."""
    down, right = torch.randint(3, (2,)).tolist()
    padded = nn.functional.pad(times.view(-1, side, side), (1, 1, 1, 1), value=torch.inf)
    return padded[:, down : down + side, right : right + side].flatten(1)


def epoch(
    task: dict[str, Any],
    net: nn.Sequential,
    times: Tensor,
    y: Tensor,
    optimizer: Any,
    schedule: Any,
) -> float:
    """One pass over the training samples; returns the mean loss."""
    hidden, output = net
    own, losses = nn.functional.one_hot(y).bool(), []
    for part in torch.randperm(len(y)).split(task["batch"]):
        given = times[part]
        if "side" in task:
            given = shifted(given, task["side"])
        inner = hidden(given)
        spikes = output(inner)
        loss = first_spike_loss(spikes, y[part], never=task["until"], **task["loss"])
        optimizer.zero_grad()
        loss.backward()
        rare = torch.isfinite(first_times(inner, torch.inf)).double().mean(0) < task["rare"]
        push_silent(hidden.weight, inner, task["push"], rare.expand(len(given), -1))  # pyright: ignore[reportArgumentType]
        push_silent(output.weight, spikes, 1.0, own[part])  # pyright: ignore[reportArgumentType]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return statistics.fmean(losses)


def score(net: nn.Sequential, times: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracy in percent, and spikes of a hidden neuron in a sample."""
    right, fired = 0, 0
    with torch.no_grad():
        for given, label in zip(times.split(500), y.split(500), strict=True):
            inner = net[0](given)
            fired += int(torch.isfinite(inner).sum())
            right += int((first_times(net[1](inner), torch.inf).argmin(1) == label).sum())
    return {"accuracy": 100 * right / len(y), "spikes": fired / len(y) / inner.shape[1]}


def trained(
    task: dict[str, Any], loaded: tuple[data.Split, Tensor, Tensor], seed: int
) -> dict[str, Any]:
    """Train one network and note its course."""
    split, times, test = loaded
    torch.manual_seed(seed)
    net = network(task, times.shape[1], split.num_classes)
    rates = zip(net, (task["lr"], task["output_lr"]), strict=True)
    optimizer = torch.optim.Adam([{"params": layer.parameters(), "lr": lr} for layer, lr in rates])
    steps = task["epochs"] * -(-len(times) // task["batch"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    seconds, curve = 0.0, []
    for number in range(task["epochs"]):
        start = time.process_time()
        loss = epoch(task, net, times, split.y_train, optimizer, schedule)
        seconds += time.process_time() - start
        if number % 5 == 4 or number == task["epochs"] - 1 or len(times) > 10_000:
            curve.append(
                {
                    "epoch": number + 1,
                    "loss": loss,
                    "seconds": seconds,
                    **score(net, test, split.y_test),
                }
            )
            print(f"    {curve[-1]}", flush=True)
    return {"seed": seed, "cpu_seconds": seconds, **curve[-1], "curve": curve}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with MNIST")
    parser.add_argument("--out", type=Path, help="JSON file to which finished seeds are appended")
    parser.add_argument("--tasks", nargs="+", default=["yin_yang"], choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="change a number of a task"
    )
    parser.add_argument("--smoke", action="store_true", help="one seed, one epoch")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done: dict[str, list[dict[str, Any]]] = (
        json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    )
    rows = []
    for name in args.tasks:
        task = TASKS[name] | {
            key: float(value) for key, value in (given.split("=") for given in args.set)
        }
        task |= {key: int(task[key]) for key in ("epochs", "batch")} | (
            {"epochs": 1} if args.smoke else {}
        )
        loaded = mnist(args.data) if name == "mnist" else yin_yang()
        finished = done.setdefault(name, [])
        for seed in range(args.first, args.first + (1 if args.smoke else args.seeds)):
            if any(result["seed"] == seed for result in finished):
                continue
            print(f"{name}, seed {seed}", flush=True)
            finished.append(trained(task, loaded, seed))
            if args.out:
                args.out.write_text(json.dumps(done, indent=1))
        each = [result["accuracy"] for result in finished]
        spread = statistics.stdev(each) if len(each) > 1 else 0.0
        seconds = statistics.fmean(result["cpu_seconds"] for result in finished)
        row = {
            "task": name,
            "seeds": len(each),
            "accuracy": statistics.fmean(each),
            "spread": spread,
        }
        rows.append(row | {"processor [s]": seconds})
        print(rows[-1])
    print(json.dumps({"machine": machine(), "rows": rows}))


if __name__ == "__main__":
    main()
