"""Sequential and permuted MNIST: an image is 784 steps of one pixel.

    python benchmarks/sequential_mnist.py --data FOLDER                   # pixels in their order
    python benchmarks/sequential_mnist.py --data FOLDER --permuted        # in a fixed random order
    python benchmarks/sequential_mnist.py --data FOLDER --tuning          # no test part
    python benchmarks/sequential_mnist.py --data FOLDER --network resonators --minutes 60

FOLDER holds mnist.npz. A tenth of the training images is the validation part, on which settings
were chosen; the test part is looked at once, after the last epoch. Finished seeds are read from
``--results``.

``lines`` are leaky neurons behind synapses with several delays each; training images are turned,
scaled and shifted a little. ``--half`` multiplies spikes and weights in bfloat16 while training,
which is faster on processors with instructions for it.

``resonators`` is the recurrent network of Higuchi et al. (2024), ICML, with the initial values,
surrogate, loss and optimizer of the authors' code; they train 256 neurons (68,874 parameters) for
300 epochs and report 99.0 and 95.2 %.

``--minutes`` ends the training after an epoch once that much processor time is used; the learning
rate then falls to 0 over the epochs that fit.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import each_seed, kept, options, report
from sequential_networks import lines, resonators
from temporal import batches, moved, parameter_groups
from torch import Tensor, nn

from spikeloom import data

HELD = 6000  # validation images


class Pixels(NamedTuple):
    """Images as sequences [N, T] and classes [N]."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Task:
    """Images in parts, and the place of each pixel of an image in the sequence."""

    parts: dict[str, Pixels]
    order: Tensor


@dataclass(frozen=True)
class Recipe:
    """A network with the settings of its training.

    Args:
        network: makes it; receives whether pixels are in random order.
        optimizer: of a network, at a learning rate.
        rate: factor of the learning rate at a share of the training.
        epochs, lr, batch: of the training.
        smoothing: of the labels.
        norm: longest gradient.
        move: how far images are turned, scaled and shifted.
    """

    network: Callable[[bool], nn.Module]
    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer]
    rate: Callable[[float], float]
    epochs: int
    lr: float
    batch: int
    smoothing: float = 0.0
    norm: float = math.inf
    move: float = 0.0


def falling(share: float) -> float:
    return 1 - share


def one_cycle(share: float, rise: float = 0.2) -> float:
    """From 0.04 to 1 and down to 0, both along a cosine."""
    if share < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * share / rise)) / 2
    return (1 + math.cos(math.pi * (share - rise) / (1 - rise))) / 2


def adam(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=lr)


def decaying(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(net, 1e-2), lr=lr)


RECIPES = {
    "lines": Recipe(lines, decaying, one_cycle, 4, 8e-3, 128, smoothing=0.1, move=0.5),
    "resonators": Recipe(resonators, adam, falling, 300, 0.1, 256, norm=1.0),
}


def judged(net: nn.Module, task: Task, part: str) -> tuple[float, float]:
    """Accuracy in percent, of the largest mean output, and spikes in an image."""
    net.eval()
    hits, fired = 0, 0.0
    images = task.parts[part]
    with torch.no_grad():
        for x, y in zip(images.x.split(500), images.y.split(500), strict=True):
            outputs, spikes = net(x[:, task.order].T)
            hits += int((outputs.mean(0).argmax(-1) == y).sum())
            fired += sum(float(spk.sum()) for spk in spikes)
    return 100 * hits / len(images.y), fired / len(images.y)


def augmented(x: Tensor, far: float, generator: torch.Generator) -> Tensor:
    """Images [B, pixels], each turned, scaled and shifted a little."""
    if not far:
        return x
    side = math.isqrt(x.shape[1])
    frames = x.view(1, -1, 1, side, side)
    return moved(frames, generator, far).view_as(x)


def train(task: Task, recipe: Recipe, args: Any, seed: int) -> dict[str, Any]:
    """Train one network and return its result."""
    torch.manual_seed(seed)
    draws = torch.Generator().manual_seed(seed)
    net = recipe.network(args.permuted)
    optimizer = recipe.optimizer(net, recipe.lr)
    pixels = task.parts["train"]
    epochs = recipe.epochs
    seconds = validation = spikes = 0.0
    start, epoch = time.process_time(), 0
    while epoch < epochs:
        net.train()
        losses: list[float] = []
        number = max(1, len(pixels.y) // recipe.batch)
        for chosen in batches(len(pixels.y), recipe.batch, draws):
            for group in optimizer.param_groups:
                share = (epoch + len(losses) / number) / epochs
                group["lr"] = recipe.lr * recipe.rate(share)
            x = augmented(pixels.x[chosen], recipe.move, draws)[:, task.order].T
            with torch.autocast("cpu", torch.bfloat16, enabled=args.half):
                outputs, _ = net(x)
            targets = pixels.y[chosen].expand(len(outputs), -1).flatten()
            loss = nn.functional.cross_entropy(
                outputs.flatten(0, 1), targets, label_smoothing=recipe.smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), recipe.norm)
            optimizer.step()
            losses.append(loss.item())
        epoch += 1
        seconds = time.process_time() - start
        epochs = max(epoch, int(min(60 * args.minutes * epoch / seconds, epochs)))
        validation, spikes = judged(net, task, "validation")
        print(
            f"  epoch {epoch} of {epochs}: loss {statistics.fmean(losses):.3f}, "
            f"validation {validation:.2f} %, {seconds:.0f} s",
            flush=True,
        )
    return {
        "seed": seed,
        "parameters": sum(p.numel() for p in net.parameters()),
        "epochs": epoch,
        "validation": validation,
        **({} if args.tuning else {"accuracy": judged(net, task, "test")[0]}),
        "spikes": spikes,
        "cpu_seconds": seconds,
    }


def row(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table: the means over the seeds."""

    def mean(key: str) -> float | None:
        return statistics.fmean(r[key] for r in found) if key in found[0] else None

    network, order = name.split(", ")
    return {
        "network": network,
        "order": order,
        "parameters": found[0]["parameters"],
        "epochs": found[0]["epochs"],
        "validation [%]": mean("validation"),
        "test [%]": mean("accuracy"),
        "each seed": ", ".join(f"{r.get('accuracy', r['validation']):.2f}" for r in found),
        "spikes": mean("spikes"),
        "cpu [s]": mean("cpu_seconds"),
    }


def read(folder: Path, permuted: bool, count: int | None) -> Task:
    """The three parts; the permutation of the pixels is the same for all."""
    split = data.mnist(folder, flat=True)
    order = torch.arange(784)
    if permuted:
        order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
    parts = {
        "train": Pixels(split.x_train[HELD:][:count], split.y_train[HELD:][:count]),
        "validation": Pixels(split.x_train[:HELD], split.y_train[:HELD]),
        "test": Pixels(split.x_test, split.y_test),
    }
    return Task(parts, order)


def made_up() -> Task:
    """Random images, for a smoke run."""
    generator = torch.Generator().manual_seed(0)
    part = Pixels(torch.rand(16, 784, generator=generator), torch.arange(16) % 10)
    order = torch.randperm(784, generator=generator)
    return Task(dict.fromkeys(("train", "validation", "test"), part), order)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default=os.environ.get("SPIKELOOM_DATA"), help="with mnist.npz")
    parser.add_argument("--network", choices=RECIPES, default="lines")
    parser.add_argument("--permuted", action="store_true", help="pixels in a fixed random order")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, help="keeps finished seeds")
    parser.add_argument("--tuning", action="store_true", help="judge on the validation part only")
    parser.add_argument("--half", action="store_true", help="bfloat16 products while training")
    parser.add_argument("--hidden", type=int, default=64, help="resonators")
    parser.add_argument("--epochs", type=int, help="default: those of the network")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of processor time")
    parser.add_argument("--count", type=int, help="training images; default: all")


def main() -> None:
    args = options(__doc__ or "", repeats=1, smoke="random images, one epoch", more=arguments)
    if args.smoke:
        args.hidden, args.epochs = 4, 1
    elif not args.data:
        raise SystemExit("no data folder; write --data with the folder of mnist.npz")
    if args.results and args.tuning:
        raise SystemExit("--results keeps figures of the test part, which --tuning has not")
    recipe = RECIPES[args.network]
    if args.network == "resonators":
        recipe = replace(recipe, network=partial(resonators, hidden=args.hidden))
    if args.epochs:
        recipe = replace(recipe, epochs=args.epochs)
    task = made_up() if args.smoke else read(Path(args.data), args.permuted, args.count)
    name = f"{args.network}, {'permuted' if args.permuted else 'sequential'}"
    done = kept(args.results)
    found = each_seed(done, name, args.seeds, partial(train, task, recipe, args), args.results)
    title = "MNIST, one pixel a step, 784 steps" + ", tuning" * args.tuning
    report(title, [row(name, found)])


if __name__ == "__main__":
    main()
