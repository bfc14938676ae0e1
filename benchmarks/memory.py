"""Peak memory of training over 100 steps, ours in its three memory modes against snnTorch's loop.

    python benchmarks/memory.py [--repeats 5] [--smoke]

An input that changes at every step. Peaks are of one training step in a fresh process, everything
that it allocates included (activations, gradients, work space of the convolutions): what becomes
resident, in which the gaps between blocks count as well, and the tensors and arrays that are alive
at a time. Times are CPU, one thread, interleaved in one process. The last column is the time
divided by that of ours with ``memory="exact"``.
"""

from typing import Any

import torch
from common import options, report
from peers import conv, installed, mlp
from training import Batch, Contender, Stages, compared

HIDDEN = (512, 512)


def two_hidden_layers() -> Stages:
    return mlp(HIDDEN)


NETWORKS = {
    "784-512-512-10": (two_hidden_layers, (784,), 64),
    "12C5-MP2-64C5-MP2-FC10": (conv, (1, 28, 28), 16),
}


def contenders(network: Any) -> dict[str, Contender]:
    ours = {
        f"ours, {mode}": Contender("ours", network, memory=mode)
        for mode in ("exact", "compressed", "checkpoint")
    }
    return ours | {name: Contender(name, network) for name in installed(("snntorch",))}


def main() -> None:
    args = options(__doc__, repeats=5, smoke="few steps, a small batch")
    num_steps = 10 if args.smoke else 100
    rows: list[dict[str, Any]] = []
    for name, (network, shape, size) in NETWORKS.items():
        size = 4 if args.smoke else size
        generator = torch.Generator().manual_seed(0)
        x = (torch.rand(num_steps, size, *shape, generator=generator) < 0.3).float()
        y = torch.randint(10, (size,), generator=generator)
        found = compared(contenders(network), Batch(x, y), args.repeats, smoke=args.smoke)
        exact = found[0]["ms"]
        rows += [{"layers": name} | row | {"time of exact": row["ms"] / exact} for row in found]
    report(f"Training step over T = {num_steps}, peak memory, 1 thread", rows)


if __name__ == "__main__":
    main()
