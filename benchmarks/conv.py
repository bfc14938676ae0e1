"""Tutorial 6's convolutional network, 12C5-MP2-64C5-MP2-FC10: one training step against the peers.

    python benchmarks/conv.py [--repeats 7] [--compiled] [--smoke]

T = 25, batch 32, cross entropy of the output at every step, Adam, float32, one thread, CPU time,
medians of interleaved rounds; peak memory is what a step adds in a fresh process. The input is one
image for all steps or another one at each step. Ours chooses the memory format of images itself.
The peers run as their tutorials write them, with the first layer computed before the loop, and with
``--compiled`` under `torch.compile`; each in the order (channel, height, width) and in
channels-last format. The first table has the best row of each peer.
"""

import torch
from common import options, report, with_compiled
from peers import conv, installed
from training import Batch, Contender, best, careful, compared


def batch(static: bool, num_steps: int, size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (size, 1, 28, 28) if static else (num_steps, size, 1, 28, 28)
    y = torch.randint(10, (size,), generator=generator)
    return Batch(torch.rand(shape, generator=generator), y, num_steps if static else None)


def contenders(compiled: bool) -> dict[str, Contender]:
    found = {"ours": Contender("ours", conv)}
    for name in installed(("snntorch", "spikingjelly")):
        found |= careful(name, conv)
        last = careful(name, conv, channels_last=True)
        found |= {f"{key}, channels-last": one for key, one in last.items()}
    found |= {name: Contender(name, conv) for name in installed(("jax",))}
    return {name: one for name, one in found.items() if compiled or not one.compiled}


def main() -> None:
    args = options(__doc__, repeats=7, smoke="few steps, a small batch", more=with_compiled)
    num_steps, size = (5, 4) if args.smoke else (25, 32)
    rows, quoted = [], []
    for static in (True, False):
        kind = {"input": "static" if static else "over time"}
        given = batch(static, num_steps, size)
        found = compared(contenders(args.compiled), given, args.repeats, smoke=args.smoke)
        rows += [kind | row for row in found]
        quoted += [kind | row for row in best(found)]
    title = f"12C5-MP2-64C5-MP2-FC10, T = {num_steps}, batch {size}, 1 thread"
    report(f"The best row of each peer, {title}", quoted)
    report(f"Training step of {title}", rows)


if __name__ == "__main__":
    main()
