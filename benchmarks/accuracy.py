"""Training to a given accuracy on MNIST, last epoch, several seeds: processor seconds of ours and
of a peer.

    python benchmarks/accuracy.py FOLDER [--results results.json] [--peers] [--seeds 3] [--network
    mlp conv] [--held-out] [--smoke]

FOLDER holds mnist.npz. The networks are those of tutorials 5 and 6; one image is presented at all
steps, the loss is the cross entropy of the output's membranes at every step, the class that of the
largest mean membrane. Libraries share initial weights, order of the images, optimiser, learning
rates and loss; ``--peers`` trains with snnTorch, too, as in its tutorials and with the first layer
computed once before the loop. Seconds are of training on one thread, without the evaluation after
each epoch. With ``--held-out`` the last 10,000 training images take the place of the test images:
recipes are chosen so. With ``--results`` every finished training is appended to that file and not
repeated by a later call.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import options, report
from peers import NETWORKS, Run, Stages, conv, mlp
from torch import Tensor
from training import loss_of

from spikeloom import data


class Recipe(NamedTuple):
    """How a network is trained; the learning rate falls to zero along a cosine."""

    network: Callable[..., Stages]
    goal: float  # test accuracy of the last epoch, %
    num_steps: int
    epochs: int
    batch_size: int
    lr: float


HELD_OUT = 10_000
PEERS = ("snntorch, as in its tutorials", "snntorch, first layer once")
RECIPES = {
    "mlp": Recipe(mlp, 98.0, num_steps=3, epochs=4, batch_size=512, lr=6e-3),
    "conv": Recipe(conv, 99.0, num_steps=3, epochs=3, batch_size=64, lr=6e-3),
}


def train(contender: str, recipe: Recipe, split: data.Split, seed: int) -> dict[str, Any]:
    """Test accuracy after each epoch in %, and processor seconds of training."""
    library = contender.partition(",")[0]
    options = {"hoisted": True} if contender == PEERS[1] else {}
    module, run = NETWORKS[library](recipe.network(seed=seed), **options)
    optimizer = torch.optim.Adam(module.parameters(), lr=recipe.lr)
    generator = torch.Generator().manual_seed(seed)
    count = len(split.x_train) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: (1 + math.cos(math.pi * i / (recipe.epochs * count))) / 2
    )
    accuracies, seconds = [], 0.0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(split.x_train), generator=generator)[: count * recipe.batch_size]
        start = time.process_time()
        for chosen in order.split(recipe.batch_size):
            membranes = run(split.x_train[chosen], recipe.num_steps)[1]
            loss = loss_of(membranes, split.y_train[chosen], by_step=contender == PEERS[0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds += time.process_time() - start
        accuracies.append(accuracy(run, split.x_test, split.y_test, recipe.num_steps))
    return {"accuracies": accuracies, "cpu_seconds": seconds}


@torch.no_grad()
def accuracy(run: Run, x: Tensor, y: Tensor, num_steps: int) -> float:
    hits = [
        (run(images, num_steps)[1].mean(0).argmax(1) == labels).sum().item()
        for images, labels in zip(x.split(500), y.split(500), strict=True)
    ]
    return 100 * sum(hits) / len(y)


def finished(path: Path | None) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path and path.exists() else []


def trained(
    library: str, name: str, seed: int, split: data.Split, path: Path | None, recipe: Recipe
) -> dict[str, Any]:
    """One training, or its result from the file."""
    settings = {
        "library": library,
        "seed": seed,
        **recipe._asdict(),
        "network": name,
        "images": len(split.x_train),
    }
    for old in finished(path):
        if settings.items() <= old.items():
            return old
    result = settings | train(library, recipe, split, seed)
    print(
        f"{name}, {library}, seed {seed}: {result['accuracies']} %, {result['cpu_seconds']:.1f} s",
        flush=True,
    )
    if path:
        path.write_text(json.dumps([*finished(path), result], indent=1) + "\n")
    return result


def summary(
    name: str, library: str, recipe: Recipe, results: list[dict[str, Any]]
) -> dict[str, Any]:
    last = [result["accuracies"][-1] for result in results]
    return {
        "network": name,
        "library": library,
        "T": recipe.num_steps,
        "epochs": recipe.epochs,
        "last epoch [%]": " ".join(f"{value:.2f}" for value in last),
        "mean": statistics.fmean(last),
        "deviation": statistics.stdev(last) if len(last) > 1 else 0.0,
        "goal": recipe.goal,
        "reached by": f"{sum(value >= recipe.goal for value in last)} of {len(last)}",
        "processor [s]": statistics.fmean(result["cpu_seconds"] for result in results),
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder with mnist.npz")
    parser.add_argument("--results", type=Path, help="file of finished trainings")
    parser.add_argument("--peers", action="store_true", help="train with snnTorch, too")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--held-out", action="store_true", help="test on the last 10,000 training images"
    )
    parser.add_argument("--network", nargs="+", choices=RECIPES, default=list(RECIPES))
    for name in ("num-steps", "epochs", "batch-size", "lr"):
        parser.add_argument(
            f"--{name}", type=float if name == "lr" else int, help="instead of the recipe's"
        )


def main() -> None:
    args = options(__doc__, repeats=1, smoke="few images, one epoch", more=arguments)
    split = data.mnist(args.folder)
    if args.held_out:
        held, known = slice(-HELD_OUT, None), slice(None, -HELD_OUT)
        split = split._replace(
            x_train=split.x_train[known],
            y_train=split.y_train[known],
            x_test=split.x_train[held],
            y_test=split.y_train[held],
        )
    changes = {
        n: getattr(args, n) for n in ("num_steps", "epochs", "batch_size", "lr") if getattr(args, n)
    }
    if args.smoke:
        split = split._replace(x_train=split.x_train[:512], y_train=split.y_train[:512])
        split = split._replace(x_test=split.x_test[:500], y_test=split.y_test[:500])
        changes = {"epochs": 1, "num_steps": 2} | changes
    rows = []
    for name in args.network:
        recipe = RECIPES[name]._replace(**changes)
        for library in ("ours", *PEERS) if args.peers else ("ours",):
            found = [
                trained(library, name, seed, split, args.results, recipe)
                for seed in range(args.seeds)
            ]
            rows.append(summary(name, library, recipe, found))
    report("MNIST to a given accuracy, 1 thread", rows)


if __name__ == "__main__":
    main()
