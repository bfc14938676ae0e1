"""Tutorial 5's multilayer perceptron, 784-1000-10: one training step against the peers.

    python benchmarks/mlp.py [--repeats 7] [--compiled] [--smoke]

T = 25, batch 128, cross entropy of the output's membrane at every step, Adam, float32, one thread,
CPU time, medians of interleaved rounds; peak memory is what a step adds in a fresh process. Three
inputs: one image for all steps, dense values that change at every step, and spikes of which one in
ten is set. snnTorch and SpikingJelly run as their tutorials write them, once more with the first
layer computed before the loop and the loss in one call, and with ``--compiled`` also under
`torch.compile`, which takes minutes the first time. The first table has the best row of each peer,
the second one the share of our step that is not a matrix product.
"""

import torch
from common import options, report, with_compiled
from peers import installed, mlp
from training import Batch, Contender, best, careful, compared, products

DENSITY = 0.1


def batch(kind: str, num_steps: int, size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (size,), generator=generator)
    if kind == "static":
        return Batch(torch.rand(size, 784, generator=generator), y, num_steps)
    x = torch.rand(num_steps, size, 784, generator=generator)
    return Batch((x < DENSITY).float() if kind == "spikes" else x, y)


def contenders(compiled: bool) -> dict[str, Contender]:
    found = {"ours": Contender("ours", mlp)}
    for name in installed(("snntorch", "spikingjelly")):
        found |= careful(name, mlp)
    found |= {name: Contender(name, mlp) for name in installed(("norse", "sinabs", "jax"))}
    return {name: one for name, one in found.items() if compiled or not one.compiled}


def main() -> None:
    args = options(__doc__, repeats=7, smoke="few steps, a small batch", more=with_compiled)
    num_steps, size = (5, 8) if args.smoke else (25, 128)
    rows, quoted, shares = [], [], []
    for kind in ("static", "dense", "spikes"):
        given = batch(kind, num_steps, size)
        found = compared(contenders(args.compiled), given, args.repeats, smoke=args.smoke)
        shares.append({"input": kind} | products(Contender("ours", mlp), given, args.repeats))
        rows += [{"input": kind} | row for row in found]
        quoted += [{"input": kind} | row for row in best(found)]
    title = f"784-1000-10, T = {num_steps}, batch {size}, 1 thread"
    report(f"The best row of each peer, {title}", quoted)
    report(f"Products in our step, {title}", shares)
    report(f"Training step of {title}", rows)


if __name__ == "__main__":
    main()
