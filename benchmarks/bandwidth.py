"""Memory bandwidth that a leaky layer reaches in main memory, against a plain copy in the same
rounds.

    python benchmarks/bandwidth.py [--repeats 9] [--smoke]

One thread, CPU time, float32, tensors far larger than the cache, freed memory kept by the C library
so that nothing is faulted in while it is measured. Counted are the bytes that the layer cannot do
without: forward it reads the input and writes spikes and membranes, backward it reads the gradient
and the membranes and writes a gradient: 12 each. The copy is STREAM's: it reads 4 bytes and writes
4; once as a loop, once as the C library does it, past the cache, which saves the read of what is
overwritten and is out of reach for what the next layer reads.
"""

from typing import Any

import torch
from common import elsewhere, interleaved, options, report

import spikeloom as snn

BYTES = {"copy, loop": 8, "copy, memcpy": 8, "forward": 12, "backward": 12}


def copy_loop() -> Any:
    """``b[i] = a[i]`` compiled as a loop; written so that the compiler does not call memcpy."""
    import numba

    @numba.njit(nogil=True)
    def copy(a: Any, b: Any) -> None:
        for i in range(a.shape[0]):
            b[i] = -a[i]

    return copy


def measure(size: tuple[int, int, int], repeats: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    x = (torch.rand(size) * 0.6).requires_grad_()
    source, target = torch.rand(x.numel()), torch.empty(x.numel())
    lif, gradient, loop = snn.Leaky(0.9), torch.rand(size), copy_loop()
    a, b = source.numpy(), target.numpy()
    spk, _ = lif.scan(x)

    def forward() -> None:
        with torch.no_grad():
            lif.scan(x)

    runs = {
        "copy, loop": lambda: loop(a, b),
        "copy, memcpy": lambda: target.copy_(source),
        "forward": forward,
        "backward": lambda: torch.autograd.grad(spk, x, gradient, retain_graph=True),
    }
    times = interleaved(runs, repeats)
    speed = {name: BYTES[name] * x.numel() / seconds / 1e9 for name, seconds in times.items()}
    row = {"T, B, N": "x".join(map(str, size)), "MiB": x.numel() * 4 / 2**20}
    return [
        row
        | {"what": name, "GB/s": value}
        | {f"% of {copy}": 100 * value / speed[copy] for copy in ("copy, loop", "copy, memcpy")}
        for name, value in speed.items()
    ]


def main() -> None:
    args = options(__doc__, repeats=9, smoke="small tensors")
    sizes = [(10, 16, 512)] if args.smoke else [(100, 32, 4096), (100, 128, 4096)]
    rows = [row for size in sizes for row in elsewhere(measure, size, args.repeats, tuned=True)]
    report("Bandwidth of a leaky layer, 1 thread", rows)


if __name__ == "__main__":
    main()
