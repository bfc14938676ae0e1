"""Tutorial 5's multilayer perceptron, 784-1000-10: one training step against the peers.

    python benchmarks/mlp.py [--repeats 7] [--smoke]

T = 25, batch 128, cross entropy of the output's membrane at every step, Adam, float32, one thread,
CPU time, medians of interleaved rounds; peak memory is what a step adds in a fresh process. Three
inputs: one image for all steps, dense values that change at every step, and spikes of which one in
ten is set.
"""

import torch
from common import PEERS, options, report
from peers import installed, mlp
from training import Batch, Contender, compared

DENSITY = 0.1


def batch(kind: str, num_steps: int, size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (size,), generator=generator)
    if kind == "static":
        return Batch(torch.rand(size, 784, generator=generator), y, num_steps)
    x = torch.rand(num_steps, size, 784, generator=generator)
    return Batch((x < DENSITY).float() if kind == "spikes" else x, y)


def contenders() -> dict[str, Contender]:
    return {name: Contender(name, mlp) for name in ("ours", *installed((*PEERS, "jax")))}


def main() -> None:
    args = options(__doc__, repeats=7, smoke="few steps, a small batch")
    num_steps, size = (5, 8) if args.smoke else (25, 128)
    rows = []
    for kind in ("static", "dense", "spikes"):
        rows += [
            {"input": kind} | row
            for row in compared(
                contenders(), batch(kind, num_steps, size), args.repeats, smoke=args.smoke
            )
        ]
    report(f"Training step of 784-1000-10, T = {num_steps}, batch {size}, 1 thread", rows)


if __name__ == "__main__":
    main()
