"""Cost of a leaky layer against the number of time steps, forward plus backward.

    python benchmarks/steps.py [--repeats 7] [--smoke]

Nanoseconds of CPU time for one neuron and step, one thread, contenders interleaved. A cost that
grows linearly with T is a constant here. Norse and Sinabs index the sequence inside their loops,
whose backward pass then adds a whole sequence at every step; they are measured at T = 100 and 400
only.
"""

from typing import Any

import torch
from common import PEERS, interleaved, options, report
from loop import ours
from peers import LAYERS, installed

import spikeloom as snn

BATCH, NEURONS = (
    32,
    256,
)  # 31 MiB at T = 1000: what larger tensors cost the C library is not the question here
BOTH = (100, 400)


def measure(num_steps: int, peers: list[str], repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    x = (torch.rand(num_steps, BATCH, NEURONS) * 0.6).requires_grad_()
    gradient = torch.rand_like(x)
    layers = {
        "ours": ours("numba" if snn.backends()["numba"] == "available" else "torch"),
        "torch": ours("torch"),
    }
    quadratic = ("norse", "sinabs")
    layers |= {name: LAYERS[name]() for name in peers if name not in quadratic or num_steps in BOTH}
    runs = {
        name: lambda run=run: torch.autograd.grad(run(x), x, gradient)
        for name, run in layers.items()
    }
    times = interleaved(runs, repeats)
    return {"T": num_steps} | {
        f"{name} [ns]": seconds / x.numel() * 1e9 for name, seconds in times.items()
    }


def main() -> None:
    args = options(__doc__, repeats=7, smoke="T = 25 and 100 only")
    peers = installed(PEERS)
    counts = (25, 100) if args.smoke else (25, 50, 100, 200, 400, 1000)
    report(
        f"Leaky layer, nanoseconds per neuron and step, batch {BATCH}, {NEURONS} neurons",
        [measure(t, peers, args.repeats) for t in counts],
    )


if __name__ == "__main__":
    main()
