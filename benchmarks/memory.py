"""Peak memory of training, ours in its three memory modes against a loop of snnTorch and
SpikingJelly.

    python benchmarks/memory.py [--repeats 5] [--smoke]

Four networks: two over 100 steps, with an input that changes at every step; the published workload
of `shd_like.py` over 256 steps; and one over 10,000 steps, without a peer. Peaks are of one
training step in a fresh process, everything that it allocates included (activations, gradients,
work space of the convolutions): what becomes resident, in which the gaps between blocks count as
well, and the tensors and arrays that are alive at a time. Times are CPU, one thread, interleaved in
one process. The last column is the time divided by that of ours with ``memory="exact"``.
"""

from statistics import median
from typing import Any

import shd_like
import torch
from common import alive, elsewhere, options, peak, ratio, report, rounds
from peers import conv, installed, mlp
from torch import nn
from training import Batch, Contender, Stages, compared

MODES = ("exact", "compressed", "checkpoint")
HIDDEN = (512, 512)


def two_hidden_layers() -> Stages:
    return mlp(HIDDEN)


NETWORKS = {
    "784-512-512-10": (two_hidden_layers, (784,), 64),
    "12C5-MP2-64C5-MP2-FC10": (conv, (1, 28, 28), 16),
}


def long() -> Stages:
    torch.manual_seed(0)
    return Stages([nn.Linear(64, 128), nn.Linear(128, 128), nn.Linear(128, 10)], 0.95)


def contenders(network: Any, peers: tuple[str, ...] = ("snntorch",)) -> dict[str, Contender]:
    ours = {f"ours, {mode}": Contender("ours", network, memory=mode) for mode in MODES}
    return ours | {name: Contender(name, network) for name in installed(peers)}


def published_memory(
    name: str, given: dict[str, Any], size: tuple[int, int]
) -> tuple[float, float]:
    """Peaks of a step of `shd_like.py` in MiB, resident and alive."""
    step = shd_like.trainer(name, **given)
    batch = shd_like.batches(1, *size)[0]
    return peak(lambda: step(batch)), alive(lambda: step(batch))


def published(size: tuple[int, int], repeats: int, *, smoke: bool) -> list[dict[str, Any]]:
    """A row for each of our memory modes and for SpikingJelly."""
    named: dict[str, tuple[str, dict[str, Any]]] = {
        f"ours, {mode}": ("snn.run, SpikeLinear", {"memory": mode}) for mode in MODES
    }
    named |= {name: (name, {}) for name in installed(("spikingjelly",))}
    batch = shd_like.batches(1, *size)[0]
    steps = {name: shd_like.trainer(of, **given) for name, (of, given) in named.items()}
    losses = {name: step(batch) for name, step in steps.items()}
    times = rounds({n: lambda step=step: step(batch) for n, step in steps.items()}, repeats)
    rows: list[dict[str, Any]] = []
    for name, (of, given) in named.items():
        row = {"network": name, "first loss": losses[name], "ms": median(times[name]) * 1e3}
        row |= ratio(times[name], times["ours, exact"])
        measure = published_memory if smoke else lambda *of: elsewhere(published_memory, *of)
        row["peak [MiB]"], row["alive [MiB]"] = measure(of, given, size)
        base = rows[0] if rows else row
        row |= {f"{k} / ours": row[f"{k} [MiB]"] / base[f"{k} [MiB]"] for k in ("peak", "alive")}
        rows.append(row)
    return rows


def spikes(steps: int, size: int, shape: tuple[int, ...], density: float) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, size, *shape, generator=generator) < density).float()
    return Batch(x, torch.randint(10, (size,), generator=generator))


def main() -> None:
    args = options(__doc__ or "", repeats=5, smoke="few steps, a small batch")
    smoke = args.smoke

    def show(title: str, name: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        exact = found[0]["ms"]
        return [
            {"layers": name, "T": title} | v | {"time of exact": v["ms"] / exact} for v in found
        ]

    rows: list[dict[str, Any]] = []
    for name, (network, shape, size) in NETWORKS.items():
        batch = spikes(10, 4, shape, 0.3) if smoke else spikes(100, size, shape, 0.3)
        found = compared(contenders(network), batch, args.repeats, smoke=smoke)
        rows += show(str(len(batch.x)), name, found)
    size = (8, 16) if smoke else (shd_like.STEPS, shd_like.BATCH)
    rows += show(str(size[0]), "700-128-20", published(size, args.repeats, smoke=smoke))
    batch = spikes(40, 4, (64,), 0.1) if smoke else spikes(10_000, 16, (64,), 0.1)
    found = compared(contenders(long, ()), batch, min(args.repeats, 3), smoke=smoke)
    rows += show(str(len(batch.x)), "64-128-128-10", found)
    report("Training step, peak memory, 1 thread", rows)


if __name__ == "__main__":
    main()
