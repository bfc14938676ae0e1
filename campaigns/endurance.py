"""Memory, files and tables of one process over thousands of batches: they must stay flat.

    python campaigns/endurance.py --out folder --number 2000

Trains by `snn.run`, by `snn.layerwise`, by a plain loop and by `snn.fit`, with batches of changing
size, and anneals the slope of a surrogate. Resident memory, open files, threads and the sizes of
the library's tables are written after every block of batches. It is wrong if memory rises by more
than 4 KiB a batch over the second half, if open files or threads rise, or if a table outgrows its
limit.
"""

import gc
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from journal import Journal, options
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import surrogate
from spikeloom.core import alone
from spikeloom.core.neuron import Neuron
from spikeloom.core.transition import MOST_TRANSITIONS, TRANSITIONS
from spikeloom.running import outlines, stateful

BLOCK = 50  # batches between two looks
MOST_KIB = 4.0  # a batch; noise of the allocator is below 1 over 1,000 batches
SIZES = (3, 8, 5, 16)


def made(slope: float = 25.0) -> nn.Sequential:
    spike = surrogate.fast_sigmoid(slope)
    return nn.Sequential(
        nn.Linear(12, 16),
        snn.Leaky(0.9, init_hidden=True, spike_grad=spike),
        nn.Linear(16, 3),
        snn.Leaky(0.9, init_hidden=True, output=True, spike_grad=spike),
    )


def batch(number: int) -> tuple[Tensor, Tensor]:
    size = SIZES[number % len(SIZES)]
    return torch.rand(6, size, 12), torch.arange(size) % 3


def learned(net: nn.Module, spikes: Callable[[Tensor], Tensor]) -> Callable[[int], None]:
    """One batch of training."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)

    def work(number: int) -> None:
        x, y = batch(number)
        optimizer.zero_grad()
        nn.functional.cross_entropy(spikes(x).sum(0), y).backward()
        optimizer.step()

    return work


def by_run() -> Callable[[int], None]:
    net = made()
    return learned(net, lambda x: snn.run(net, x)[0])


def by_layerwise() -> Callable[[int], None]:
    net = made()

    @snn.layerwise
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        snn.reset(net)
        return torch.stack([net(step)[0] for step in x])

    return learned(net, lambda x: forward(net, x))


def by_loop() -> Callable[[int], None]:
    net = made()

    def forward(x: Tensor) -> Tensor:
        snn.reset(net)
        return torch.stack([net(step)[0] for step in x])

    return learned(net, forward)


def by_annealing() -> Callable[[int], None]:
    net = made()
    work = learned(net, lambda x: snn.run(net, x)[0])

    def anneal(number: int) -> None:
        for index in (1, 3):
            net[index].spike_grad = surrogate.fast_sigmoid(1.0 + number / 7)
        work(number)

    return anneal


def by_fit() -> Callable[[int], None]:
    """One call of `snn.fit` of one batch, which makes all that belongs to a training anew."""
    x, y = torch.rand(16, 12), torch.arange(16) % 3

    def work(number: int) -> None:
        snn.fit(made(), (x, y, x[:4], y[:4]), num_steps=3, epochs=1, batch_size=16, progress=False)

    return work


WAYS = (by_run, by_layerwise, by_loop, by_annealing, by_fit)


def resident_kib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def state() -> dict[str, float]:
    gc.collect()
    return {
        "kib": resident_kib(),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "transitions": len(TRANSITIONS),
        "inferred": len(outlines._inferred),
        "outlines": len(stateful._outlines),
        "claimed": len(alone.claimed),
        "neurons": len(Neuron.live),
    }


LIMITS = {
    "transitions": MOST_TRANSITIONS + stateful._OUTLINES,
    "inferred": outlines._INFERRED,
    "outlines": stateful._OUTLINES,
    "claimed": 0,
}


def judged(states: list[dict[str, float]], block: int = BLOCK) -> tuple[float, str | None]:
    """Slope of memory over the second half in KiB a batch, and what is wrong."""
    later = states[len(states) // 2 :]
    kib = np.array([row["kib"] for row in later])
    batches = block * np.arange(len(later))
    slope = float(np.polyfit(batches, kib, 1)[0]) if len(later) > 2 else 0.0
    first, last = later[0], later[-1]
    for name in ("files", "threads", "neurons"):
        if last[name] > first[name]:
            return slope, f"{name} rose from {first[name]} to {last[name]}"
    for name, most in LIMITS.items():
        if last[name] > most:
            return slope, f"{name} holds {last[name]}, more than {most}"
    return slope, f"memory rises by {slope:.2f} KiB a batch" if slope > MOST_KIB else None


def main() -> int:
    parser = options(__doc__, 2000)
    parser.add_argument("--block", type=int, default=BLOCK, help="batches between two looks")
    settings = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        raise SystemExit("endurance reads /proc, which this system does not have")
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    journal = Journal(settings.out)
    done = {row["kind"] for row in journal.rows}
    for trial, way in enumerate(WAYS):
        if way.__name__ in done:
            continue
        work, states = way(), []
        number = settings.number if way is not by_fit else max(settings.block, settings.number // 4)
        for index in range(number):
            work(index)
            if (index + 1) % settings.block == 0:
                states.append(state())
        slope, wrong = judged(states, settings.block)
        journal.add(
            trial=trial,
            kind=way.__name__,
            batches=number,
            slope=slope,
            last=states[-1],
            wrong=wrong,
        )
        print(
            f"{way.__name__:<14} {number:>6} batches {slope:>8.3f} KiB a batch  {states[-1]}",
            flush=True,
        )
    print(journal)
    return journal.code


if __name__ == "__main__":
    sys.exit(main())
