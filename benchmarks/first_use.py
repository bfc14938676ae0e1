"""What the first use of a kernel costs, in fresh processes: compiled anew, and from the cache on
disk.

    python benchmarks/first_use.py [--repeats 5] [--smoke]

A leaky layer with numba's backend; seconds on the clock and of the processor, medians over
processes, from the first call until its result, less the second call of the same. The forward row
is what a program pays that only runs a network; the backward row comes on top in one that trains
it. Both hold the import of numba and the tracing of the neuron's equations; the import of torch and
of this library is not in it.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from common import elsewhere, options, report

import spikeloom as snn


def first_use(folder: str) -> dict[str, tuple[float, float]]:
    """Seconds on the clock and of the processor, of forward and backward, in this process."""
    os.environ["SPIKELOOM_CACHE"] = folder
    lif, x = (
        snn.Leaky(0.9, init_hidden=True, mode="sequence"),
        torch.rand(25, 8, 64, requires_grad=True),
    )
    found: list[Any] = []
    with snn.backend("numba"):
        forward = _extra(lambda: found.append(lif(x)))
        backward = _extra(lambda: torch.autograd.grad(found[0].sum(), x, retain_graph=True))
    return {"forward": forward, "backward": backward}


def _extra(call: Callable[[], Any]) -> tuple[float, float]:
    spans = []
    for _ in range(2):
        start = time.perf_counter(), time.process_time()
        call()
        spans.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return spans[0][0] - spans[1][0], spans[0][1] - spans[1][1]


def measure(repeats: int) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("cold", "cached"):
                for direction, seconds in elsewhere(first_use, folder).items():
                    found.setdefault((cache, direction), []).append(seconds)
    rows = []
    for (cache, direction), values in found.items():
        clock, processor = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append(
            {
                "cache": cache,
                "kernel": direction,
                "on the clock [s]": clock,
                "processor [s]": processor,
            }
        )
    return rows


def main() -> None:
    args = options(__doc__, repeats=5, smoke="one process each")
    report("First use of a kernel, numba", measure(1 if args.smoke else args.repeats))


if __name__ == "__main__":
    main()
