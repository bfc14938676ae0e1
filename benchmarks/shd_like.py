"""A published GPU workload on a processor: 8,156 samples of 256 steps, 700-128-20, 20 epochs.

    python benchmarks/shd_like.py [--threads 2] [--repeats 5] [--full] [--smoke]

The spikes are synthetic, 4.5 % of each step as in the Spiking Heidelberg Digits; batches of 256,
leaky neurons, cross entropy of the mean membrane of the output, Adam. One author published the time
of 20 epochs on one T4 GPU: snnTorch 347 s, SpikingJelly in torch 261 s, Norse 252 s, SpikingJelly
with CuPy 6.0 s, jaxpike 8.1 s.

Spikes are stored as booleans, 46 MiB a batch. "SpikeLinear" and "snn.layerwise" read them as they
are; the other contenders convert them, which counts: the loops step by step, the others the whole
batch. Seconds are wall-clock, medians of interleaved rounds; "20 epochs" is 640 times a step, and
``--full`` trains them with the first contender. "losses apart" compares the first loss with the one
of the plain loop.
"""

import argparse
import importlib
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from common import options, report, rounds
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn

SAMPLES, EPOCHS, BATCH, STEPS = 8156, 20, 256, 256
INPUTS, HIDDEN, CLASSES, DENSITY, BETA = 700, 128, 20, 0.045, 0.95

Batch = tuple[Tensor, Tensor]


class Loop(nn.Module):
    """The network with a time loop of its own, as users write it."""

    def __init__(self, library: Any = snn) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(INPUTS, HIDDEN), library.Leaky(BETA)
        self.fc2, self.lif2 = nn.Linear(HIDDEN, CLASSES), library.Leaky(BETA)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        membranes = []
        for step in range(len(x)):
            spk1, mem1 = self.lif1(self.fc1(x[step].float()), mem1)
            _, mem2 = self.lif2(self.fc2(spk1), mem2)
            membranes.append(mem2)
        return torch.stack(membranes)


def _sequence(first: nn.Module) -> nn.Sequential:
    hidden = snn.Leaky(BETA, init_hidden=True)
    output = snn.Leaky(BETA, init_hidden=True, output=True)
    return nn.Sequential(first, hidden, nn.Linear(HIDDEN, CLASSES), output)


def _spike_linear(**options: Any) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    net = _sequence(snn.SpikeLinear(INPUTS, HIDDEN))
    return net, lambda x: snn.run(net, x, **options)[1]


def _run() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    net = _sequence(nn.Linear(INPUTS, HIDDEN))
    return net, lambda x: snn.run(net, x.float())[1]


def _layerwise() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    net = snn.layerwise(Loop())
    return net, net


def _loop() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    net = Loop()
    return net, net


def _snntorch() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    net = Loop(importlib.import_module("snntorch"))
    return net, net


def _spikingjelly() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    from peers import spikingjelly_neuron
    from spikingjelly.activation_based import functional, layer, surrogate

    hidden, output = (
        spikingjelly_neuron(BETA, surrogate.ATan(), store_v_seq=True) for _ in range(2)
    )
    linear = [nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, CLASSES)]
    first, second = (layer.SeqToANNContainer(part) for part in linear)
    net = nn.Sequential(first, hidden, second, output)

    def run(x: Tensor) -> Tensor:
        functional.reset_net(net)
        net(x.float())
        return output.v_seq

    return net, run


CONTENDERS: dict[str, Callable[..., tuple[nn.Module, Callable[[Tensor], Tensor]]]] = {
    "snn.run, SpikeLinear": _spike_linear,
    "snn.run": _run,
    "snn.layerwise": _layerwise,
    "plain loop": _loop,
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
}


def trainer(name: str, **options: Any) -> Callable[[Batch], float]:
    """A training step of a contender; it returns the loss before it.

    Args:
        name: of the contender.
        **options: of `snn.run`, for the first contender.

    Raises:
        ImportError: the library is not installed.
    """
    torch.manual_seed(0)
    net, forward = CONTENDERS[name](**options)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def step(batch: Batch) -> float:
        x, y = batch
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(x).mean(0), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def batches(number: int, steps: int, size: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(steps, size, INPUTS, generator=generator) < DENSITY,
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for _ in range(number)
    ]


def compared(data: list[Batch], repeats: int) -> list[dict[str, Any]]:
    """A row for each contender that is installed."""
    trainers = {}
    for name in CONTENDERS:
        try:
            trainers[name] = trainer(name)
        except ImportError as error:
            print(f"without {name}: {error}")
    losses = {name: step(data[0]) for name, step in trainers.items()}
    runs = {name: lambda step=step: step(data[-1]) for name, step in trainers.items()}
    seconds = rounds(runs, repeats, time.perf_counter)
    best = median(seconds["snn.run, SpikeLinear"])
    return [
        {
            "contender": name,
            "s a batch": round(median(values), 4),
            "20 epochs [s]": median(values) * EPOCHS * -(-SAMPLES // BATCH),
            "times the first": median(values) / best,
            "losses apart": abs(losses[name] - losses["plain loop"]),
        }
        for name, values in seconds.items()
    ]


def full(data: list[Batch]) -> dict[str, Any]:
    """Wall-clock seconds of all epochs."""
    step = trainer("snn.run, SpikeLinear")
    begin = time.perf_counter()
    for epoch in range(EPOCHS):
        losses = [step(batch) for batch in data]
        print(
            f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}, "
            f"{time.perf_counter() - begin:.1f} s",
            flush=True,
        )
    return {"contender": "all epochs", "seconds": time.perf_counter() - begin}


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--full", action="store_true", help="also train all 20 epochs")


def main() -> None:
    args = options(__doc__ or "", repeats=5, smoke="few steps, small batches", more=_more)
    torch.set_num_threads(args.threads)
    steps, size = (8, 16) if args.smoke else (STEPS, BATCH)
    rows = compared(batches(2, steps, size), args.repeats)
    if args.full:
        rows.append(full(batches(2 if args.smoke else -(-SAMPLES // BATCH), steps, size)))
    report(f"Training of 700-128-20, T = {steps}, batch {size}, {args.threads} threads", rows)


if __name__ == "__main__":
    main()
