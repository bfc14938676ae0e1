"""Small Spikformer and SEW-ResNet: what layer-by-layer execution computes, takes, and learns.

    python benchmarks/deep.py --data FOLDER                      # both networks on MNIST
    python benchmarks/deep.py --data FOLDER --images cifar       # on the JPEG CIFAR-10 subset
    python benchmarks/deep.py --epochs 0 --repeats 7             # equality and time only

FOLDER holds mnist.npz or cifar10_jpeg_subset.npz (JPEG files, which Pillow decodes). An image is
shown at every step; the loss is the cross entropy of the mean output. The first table compares a
training step of the plain loop with ``snn.layerwise`` and ``snn.run`` in float64 (losses and
gradients apart, in units of the largest gradient), then the time of each in float32, with peers
that are installed: snnTorch's neurons in the plain loop, SpikingJelly's multi-step neurons with
time folded into the batch, which takes the statistics of all steps together, as ``snn.run`` does
with ``batch_norm="time"``. The second one is training through ``snn.layerwise``, last epoch.
"""

import argparse
import copy
import io
import itertools
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import asked, options, ratio, report, rounds
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import blocks, data
from spikeloom.core.checks import installed, require

STEPS = 4
BATCH = 64
BETA = 0.5
FILES = {"mnist": "mnist.npz", "cifar": "cifar10_jpeg_subset.npz"}
Make = Callable[[], nn.Module]


class Images(NamedTuple):
    """Images [N, C, H, W] in [0, 1] and classes [N]."""

    x: Tensor
    y: Tensor


# -- networks --------------------------------------------------------------------------------------


def neuron() -> nn.Module:
    return snn.Leaky(BETA, init_hidden=True)


def spikformer(channels: int, make: Make = neuron, dim: int = 32, depth: int = 2) -> nn.Sequential:
    """Spikformer with patches of 4 x 4 pixels and heads of 8 channels."""
    encoders = [
        blocks.encoder_block(blocks.self_attention(dim, dim // 8, make), dim, make, hidden=2 * dim)
        for _ in range(depth)
    ]
    return nn.Sequential(
        blocks.patch_embedding(channels, dim, make, poolings=[True, True]),
        *encoders,
        blocks.TokenMean(),
        nn.Linear(dim, 10),
    )


def sew_resnet(channels: int, make: Make = neuron, width: int = 16) -> nn.Sequential:
    """A convolution, three SEW blocks of which two halve the image, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        make(),
        blocks.sew_block(width, width, make),
        blocks.sew_block(width, 2 * width, make, stride=2),
        blocks.sew_block(2 * width, 4 * width, make, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )


NETWORKS = {"spikformer": spikformer, "sew-resnet": sew_resnet}


class Loop(nn.Module):
    """A network of one step with the loop over time around it; returns the mean output."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        for module in self.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()
        return torch.stack([self.step(x) for _ in range(STEPS)]).mean(0)


class Whole(nn.Module):
    """The same by ``snn.run``."""

    def __init__(self, step: nn.Module, batch_norm: str = "step") -> None:
        super().__init__()
        self.step = step
        self.batch_norm = batch_norm

    def forward(self, x: Tensor) -> Tensor:
        return snn.run(self.step, x, num_steps=STEPS, batch_norm=self.batch_norm).mean(0)


class Folded(nn.Module):
    """SpikingJelly's way: layers take [T * B, ...], neurons [T, B, ...]."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        require("spikingjelly.activation_based.functional", extra="bench", purpose="").reset_net(
            self.step
        )
        images = x.expand(STEPS, *x.shape).flatten(0, 1)
        return self.step(images).unflatten(0, (STEPS, -1)).mean(0)


class Multistep(nn.Module):
    """A neuron of SpikingJelly inside a network whose batch is T * B."""

    def __init__(self) -> None:
        super().__init__()
        home = require("spikingjelly.activation_based.neuron", extra="bench", purpose="")
        self.neuron = home.LIFNode(
            tau=1 / (1 - BETA), decay_input=False, v_reset=None, detach_reset=True, step_mode="m"
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(x.unflatten(0, (STEPS, -1))).flatten(0, 1)


def of_snntorch() -> nn.Module:
    home = require("snntorch", extra="bench", purpose="")
    return home.Leaky(beta=BETA, init_hidden=True)


# -- equality and time -----------------------------------------------------------------------------


def contenders(network: Callable[..., nn.Module], channels: int) -> dict[str, nn.Module]:
    """The network in each way that can run here, with equal weights."""
    torch.manual_seed(0)
    step = network(channels)
    found: dict[str, nn.Module] = {
        "plain loop": Loop(step),
        "layerwise": snn.layerwise(Loop(copy.deepcopy(step))),
        "run": Whole(copy.deepcopy(step)),
        "run, common statistics": Whole(copy.deepcopy(step), "time"),
    }
    if installed("snntorch"):
        found["snntorch, plain loop"] = Loop(network(channels, of_snntorch))
    if installed("spikingjelly"):
        found["spikingjelly, multi-step"] = Folded(network(channels, Multistep))
    return found


def learned(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Loss of a training step without the change of weights."""
    net.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    return loss.detach()


def apart(net: nn.Module, twin: nn.Module, x: Tensor, y: Tensor) -> dict[str, str]:
    """How far two ways to run a network differ in float64: loss, gradients, running statistics."""
    ours, theirs = copy.deepcopy(net).double(), copy.deepcopy(twin).double()
    for buffer, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        other.copy_(buffer)  # the steps in float32 that were timed have rounded them differently
    losses = [learned(each, x.double(), y) for each in (ours, theirs)]
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    largest = max(float(p.grad.abs().max()) for p, _ in pairs if p.grad is not None)
    gradients = max(float((p.grad - q.grad).abs().max()) for p, q in pairs)  # pyright: ignore
    buffers = zip(ours.buffers(), theirs.buffers(), strict=True)
    found = {
        "losses apart": float((losses[0] - losses[1]).abs()),
        "gradients apart": gradients / largest,
        "statistics apart": max(float((a.double() - b.double()).abs().max()) for a, b in buffers),
    }
    return {name: f"{value:.0e}" for name, value in found.items()}


def compared(name: str, images: Images, repeats: int) -> list[dict[str, Any]]:
    """Rows of the first table for one network."""
    x, y = images.x[:BATCH], images.y[:BATCH]
    ways = contenders(NETWORKS[name], x.shape[1])
    times = rounds({way: lambda net=net: learned(net, x, y) for way, net in ways.items()}, repeats)
    rows = []
    for way, net in ways.items():
        row: dict[str, Any] = {"network": name, "way": way}
        row["ms"] = 1000 * sorted(times[way])[repeats // 2]
        row |= ratio(times[way], times["layerwise"])
        if way in ("layerwise", "run"):
            row |= apart(ways["plain loop"], net, x[:8], y[:8])
        rows.append(row)
    return rows


# -- training --------------------------------------------------------------------------------------


def accuracy(net: nn.Module, images: Images) -> float:
    """Accuracy in percent."""
    net.eval()
    with torch.no_grad():
        pairs = zip(images.x.split(500), images.y.split(500), strict=True)
        hits = sum(int((net(x).argmax(-1) == y).sum()) for x, y in pairs)
    return 100 * hits / len(images.y)


def train(name: str, train_: Images, test: Images, args: Any) -> dict[str, Any]:
    """Train through ``snn.layerwise`` and return the row of the second table."""
    torch.manual_seed(args.seed)
    draws = torch.Generator().manual_seed(args.seed)
    net = snn.layerwise(Loop(NETWORKS[name](train_.x.shape[1])))
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=1e-2)
    total = args.epochs * math.ceil(len(train_.y) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=total)
    start = time.process_time()
    for epoch in range(args.epochs):
        net.train()
        losses = 0.0
        for chosen in torch.randperm(len(train_.y), generator=draws).split(BATCH):
            losses += float(learned(net, train_.x[chosen], train_.y[chosen])) * len(chosen)
            optimizer.step()
            schedule.step()
        seconds = time.process_time() - start
        print(
            f"{name}, epoch {epoch}: loss {losses / len(train_.y):.3f}, {seconds:.0f} s", flush=True
        )
    seconds = time.process_time() - start
    return {
        "network": name,
        "images": len(train_.y),
        "epochs": args.epochs,
        "parameters": sum(p.numel() for p in net.parameters()),
        "test [%]": accuracy(net, test),
        "cpu [s]": seconds,
    }


# -- images ----------------------------------------------------------------------------------------


def read(folder: Path, name: str) -> tuple[Images, Images]:
    """Training and test images."""
    if name == "mnist":
        split = data.mnist(folder)
        parts = ((split.x_train, split.y_train), (split.x_test, split.y_test))
        return tuple(Images(x.reshape(-1, 1, 28, 28), y) for x, y in parts)  # pyright: ignore
    with np.load(folder / FILES[name], allow_pickle=False) as found:
        return _decoded(found, "train"), _decoded(found, "test")


def _decoded(found: Any, part: str) -> Images:
    pillow = require("PIL.Image", extra="data", purpose="Reading JPEG images")
    stream, ends = found[f"jpeg_{part}"].tobytes(), found[f"offset_{part}"].tolist()
    files = (io.BytesIO(stream[a:b]) for a, b in itertools.pairwise(ends))
    pixels = np.stack([np.asarray(pillow.open(file).convert("RGB")) for file in files])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return Images(x, torch.from_numpy(found[f"y_{part}"]).long())


def made_up(channels: int) -> Images:
    """Random images, for a smoke run."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, channels, 16, 16, generator=generator)
    return Images(x, torch.randint(10, (BATCH,), generator=generator))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default=os.environ.get("SPIKELOOM_DATA"), help="folder of images")
    parser.add_argument("--images", choices=FILES, default="mnist")
    parser.add_argument("--network", nargs="+", help=f"parts of names among {list(NETWORKS)}")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--count", type=int, help="training images; default: all")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)


def main() -> None:
    args = options(__doc__ or "", repeats=5, smoke="random images, one epoch", more=arguments)
    channels = 3 if args.images == "cifar" else 1
    if args.smoke:
        args.epochs = min(args.epochs, 1)
        train_ = test = made_up(channels)
    elif not args.data:
        raise SystemExit(f"no data folder; write --data with the folder of {FILES[args.images]}")
    else:
        train_, test = read(Path(args.data), args.images)
        train_ = Images(train_.x[: args.count], train_.y[: args.count])
    names = [name for name in NETWORKS if asked(name, args.network)]
    rows = [row for name in names for row in compared(name, train_, args.repeats)]
    report(f"a training step on {args.images}, T = {STEPS}, batch {BATCH}, 1 thread", rows)
    if args.epochs:
        rows = [train(name, train_, test, args) for name in names]
        report(f"training through snn.layerwise on {args.images}, T = {STEPS}, 1 thread", rows)


if __name__ == "__main__":
    main()
