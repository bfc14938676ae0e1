"""Tutorial 6's convolutional network, 12C5-MP2-64C5-MP2-FC10: one training step against the peers.

    python benchmarks/conv.py [--repeats 7] [--smoke]

T = 25, batch 32, cross entropy of the output at every step, Adam, float32, one thread, CPU time,
medians of interleaved rounds; peak memory is what a step adds in a fresh process. The input is one
image for all steps or another one at each step. Ours chooses the memory format of images itself;
the peers run as their tutorials write them, in the order (channel, height, width), and once more
with network and input in channels-last format.
"""

import torch
from common import options, report
from peers import conv, installed
from training import Batch, Contender, compared


def batch(static: bool, num_steps: int, size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (size, 1, 28, 28) if static else (num_steps, size, 1, 28, 28)
    y = torch.randint(10, (size,), generator=generator)
    return Batch(torch.rand(shape, generator=generator), y, num_steps if static else None)


def contenders() -> dict[str, Contender]:
    found = {"ours": Contender("ours", conv)}
    for name in installed(("snntorch", "spikingjelly")):
        found[name] = Contender(name, conv)
        found[f"{name}, channels-last"] = Contender(name, conv, channels_last=True)
    found |= {name: Contender(name, conv) for name in installed(("jax",))}
    return found


def main() -> None:
    args = options(__doc__, repeats=7, smoke="few steps, a small batch")
    num_steps, size = (5, 4) if args.smoke else (25, 32)
    rows = []
    for static in (True, False):
        kind = {"input": "static" if static else "over time"}
        rows += [
            kind | row
            for row in compared(
                contenders(), batch(static, num_steps, size), args.repeats, smoke=args.smoke
            )
        ]
    report(
        f"Training step of 12C5-MP2-64C5-MP2-FC10, T = {num_steps}, batch {size}, 1 thread", rows
    )


if __name__ == "__main__":
    main()
