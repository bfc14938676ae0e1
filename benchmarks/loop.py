"""A leaky integrate-and-fire layer, forward plus backward, against the peers' layers.

    python benchmarks/loop.py [--repeats 9] [--compiled] [--smoke]

All contenders run interleaved in one process, on one thread, in CPU time, autograd included; "ours"
is the backend that is chosen when numba is installed, beside it the traced loop in plain torch and
the eager loop. Each row gives the median of ours in milliseconds and, for every other one, its time
divided by ours. Above 32 MiB a tensor the C library returns memory to the system after every use
and faults it in again; those sizes are measured as they are and with a C library that keeps what is
freed. ``--compiled`` adds snnTorch's step under `torch.compile` for the small sizes. Semantics of
snnTorch: beta 0.9, threshold 1, subtract reset, arc-tangent surrogate.
"""

from typing import Any

import torch
from common import PEERS, elsewhere, interleaved, options, report, with_compiled
from peers import COMPILED, LAYERS, Layer, installed
from torch import Tensor

import spikeloom as snn

SMALL = [
    (25, 32, 512),
    (25, 128, 512),
    (100, 32, 512),
    (100, 128, 512),
    (25, 32, 4096),
]  # up to 32 MiB a tensor
LARGE = [(25, 128, 4096), (100, 32, 4096), (400, 128, 512)]
QUADRATIC = {
    "norse": 100,
    "sinabs": 100,
}  # their backward grows with the square of T: seconds beyond this T


def ours(backend: str) -> Layer:
    lif = snn.Leaky(0.9, init_hidden=True, mode="sequence")

    def run(x: Tensor) -> Tensor:
        lif.reset_hidden()
        with snn.backend(backend):
            return lif(x)

    return run


def contenders(num_steps: int, compiled: bool) -> dict[str, Layer]:
    """By name, ours first."""
    fast = ["numba"] if snn.backends()["numba"] == "available" else []
    found = {
        ("ours" if i == 0 else name): ours(name) for i, name in enumerate([*fast, "torch", "eager"])
    }
    wanted = (*PEERS, COMPILED) if compiled else PEERS
    peers = [name for name in installed(wanted) if num_steps <= QUADRATIC.get(name, num_steps)]
    return found | {name: LAYERS[name]() for name in peers}


def measure(
    size: tuple[int, int, int], repeats: int, compiled: bool, allocator: str = "default"
) -> dict[str, Any]:
    torch.manual_seed(0)
    x = (torch.rand(size) * 0.6).requires_grad_()
    gradient = torch.rand(size)
    layers = contenders(size[0], compiled)
    runs = {
        name: lambda run=run: torch.autograd.grad(run(x), x, gradient)
        for name, run in layers.items()
    }
    times = interleaved(runs, repeats)
    best = times.pop("ours")
    row: dict[str, Any] = {
        "T, B, N": "x".join(map(str, size)),
        "MiB": x.numel() * 4 / 2**20,
        "allocator": allocator,
    }
    return (
        row
        | {"ours [ms]": best * 1e3}
        | {f"{name} / ours": value / best for name, value in times.items()}
    )


def main() -> None:
    args = options(__doc__, repeats=9, smoke="one small size, a few repeats", more=with_compiled)
    sizes = SMALL[:1] if args.smoke else SMALL
    rows = [measure(size, args.repeats, args.compiled) for size in sizes]
    for size in [] if args.smoke else LARGE:
        for allocator in ("default", "tuned"):
            rows.append(
                elsewhere(measure, size, args.repeats, False, allocator, tuned=allocator == "tuned")
            )
    report("LIF layer, forward + backward, 1 thread", rows)


if __name__ == "__main__":
    main()
