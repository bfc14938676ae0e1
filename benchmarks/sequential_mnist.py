"""Sequential and permuted MNIST: an image is 784 steps of one pixel; recurrent balanced resonators.

    python benchmarks/sequential_mnist.py --data FOLDER                   # pixels in their order
    python benchmarks/sequential_mnist.py --data FOLDER --permuted        # in a fixed random order
    python benchmarks/sequential_mnist.py --data FOLDER --hidden 256 --epochs 300

FOLDER holds mnist.npz. The network, its initial values, surrogate, loss and optimizer are those of
Higuchi et al. (2024), ICML, and the authors' code; they train 256 neurons (68,874 parameters) for
300 epochs and report 99.0 and 95.2 %. A tenth of the training images is the validation part; the
test part is looked at once, after the last epoch. ``--minutes`` ends the training after an epoch
once that much processor time is used; the learning rate then falls to 0 over the epochs that fit.
"""

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import options, report
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data

HELD = 6000  # validation images


class Pixels(NamedTuple):
    """Images as sequences [N, T] and classes [N]."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class DoubleGaussian(snn.surrogate.Surrogate):
    """Surrogate gradient of the authors: a normal density minus a wider one."""

    narrow: float = 0.5
    wide: float = 3.0
    share: float = 0.15
    height: float = 0.5

    def derivative(self, x: Tensor) -> Tensor:
        near = (1 + self.share) * self._density(x, self.narrow)
        return self.height * (near - 2 * self.share * self._density(x, self.wide))

    def primitive(self, x: Tensor) -> Tensor:
        near = (1 + self.share) * self._integral(x, self.narrow)
        return self.height * (near - 2 * self.share * self._integral(x, self.wide))

    @staticmethod
    def _density(x: Tensor, sigma: float) -> Tensor:
        return torch.exp(-0.5 * (x / sigma).square()) / (sigma * math.sqrt(2 * math.pi))

    @staticmethod
    def _integral(x: Tensor, sigma: float) -> Tensor:
        return 0.5 * (1 + torch.erf(x / (sigma * math.sqrt(2))))


class Resonators(nn.Module):
    """Recurrent balanced resonate-and-fire neurons and leaky integrators of their spikes."""

    def __init__(self, hidden: int, highest: float) -> None:
        super().__init__()
        self.hidden = hidden
        joint = nn.init.xavier_uniform_(torch.empty(hidden, 1 + hidden))
        self.pixel = nn.Parameter(joint[:, :1].T.clone())
        self.feedback = nn.Parameter(joint[:, 1:].T.clone())
        self.cell = snn.BalancedResonateFire(
            omega=torch.empty(hidden).uniform_(15.0, highest),
            damping=torch.empty(hidden).uniform_(0.1, 1.0),
            dt=0.01,
            learn_omega=True,
            learn_damping=True,
            spike_grad=DoubleGaussian(),
        )
        self.readout = nn.Linear(hidden, 10, bias=False)
        decay = torch.exp(-1 / torch.normal(20.0, 1.0, (10,)))
        self.integrator = snn.LI(decay, learn_beta=True, init_hidden=True, mode="sequence")

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [T, B, 10] of pixels [T, B]."""
        spk = x.new_zeros(x.shape[1], self.hidden)
        state, spikes = None, []
        for current in (x.unsqueeze(-1) * self.pixel).unbind(0):
            spk, state = self.cell.step(torch.addmm(current, spk, self.feedback), state)
            spikes.append(spk)
        beta = self.integrator.beta.clamp(0, 1)
        snn.reset(self.integrator)
        return self.integrator((1 - beta) * self.readout(torch.stack(spikes)))


def scores(net: nn.Module, part: Pixels) -> float:
    """Accuracy in percent; the class is that of the largest mean output."""
    net.eval()
    with torch.no_grad():
        pairs = zip(part.x.split(500), part.y.split(500), strict=True)
        hits = sum(int((net(x.T).mean(0).argmax(-1) == y).sum()) for x, y in pairs)
    return 100 * hits / len(part.y)


def train(parts: dict[str, Pixels], args: Any) -> dict[str, Any]:
    """Train one network and return its row."""
    torch.manual_seed(args.seed)
    draws = torch.Generator().manual_seed(args.seed)
    net = Resonators(args.hidden, 85.0 if args.permuted else 50.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    pixels, start, epoch, epochs = parts["train"], time.process_time(), 0, args.epochs
    batches = len(pixels.y) // args.batch
    while epoch < epochs:
        net.train()
        total = 0.0
        order = torch.randperm(len(pixels.y), generator=draws)[: batches * args.batch]
        for number, chosen in enumerate(order.split(args.batch)):
            for group in optimizer.param_groups:
                group["lr"] = args.lr * (1 - (epoch + number / batches) / epochs)
            outputs = net(pixels.x[chosen].T)
            targets = pixels.y[chosen].expand(len(outputs), -1)
            loss = nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
        epoch += 1
        seconds = time.process_time() - start
        epochs = max(epoch, int(min(60 * args.minutes * epoch / seconds, epochs)))
        found = scores(net, parts["validation"])
        print(
            f"epoch {epoch} of {epochs}: loss {total / batches:.3f}, validation {found:.2f} %, "
            f"{seconds:.0f} s",
            flush=True,
        )
    return {
        "order": "permuted" if args.permuted else "sequential",
        "hidden": args.hidden,
        "parameters": sum(p.numel() for p in net.parameters()),
        "epochs": epoch,
        "validation [%]": scores(net, parts["validation"]),
        "test [%]": scores(net, parts["test"]),
        "cpu [s]": time.process_time() - start,
    }


def read(folder: Path, permuted: bool, count: int | None) -> dict[str, Pixels]:
    """The three parts; the permutation of the pixels is the same for all."""
    split = data.mnist(folder, flat=True)
    order = torch.arange(784)
    if permuted:
        order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
    known, test = split.x_train[:, order], split.x_test[:, order]
    return {
        "train": Pixels(known[HELD:][:count], split.y_train[HELD:][:count]),
        "validation": Pixels(known[:HELD], split.y_train[:HELD]),
        "test": Pixels(test, split.y_test),
    }


def made_up() -> dict[str, Pixels]:
    """Random sequences, for a smoke run."""
    generator = torch.Generator().manual_seed(0)
    part = Pixels(torch.rand(16, 20, generator=generator), torch.arange(16) % 10)
    return dict.fromkeys(("train", "validation", "test"), part)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default=os.environ.get("SPIKELOOM_DATA"), help="with mnist.npz")
    parser.add_argument("--permuted", action="store_true", help="pixels in a fixed random order")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=math.inf, help="of processor time")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--count", type=int, help="training images; default: all")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)


def main() -> None:
    args = options(__doc__ or "", repeats=1, smoke="random sequences", more=arguments)
    if args.smoke:
        args.hidden, args.epochs, args.batch = 4, 1, 8
    elif not args.data:
        raise SystemExit("no data folder; write --data with the folder of mnist.npz")
    parts = made_up() if args.smoke else read(Path(args.data), args.permuted, args.count)
    report("MNIST, one pixel a step, 784 steps", [train(parts, args)])


if __name__ == "__main__":
    main()
