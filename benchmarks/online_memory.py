"""Memory over time of backpropagation through time and of the online rule, and how far their
gradients agree.

    python benchmarks/online_memory.py [--smoke]

Peak memory is what a process of its own adds to its resident set while it computes one gradient
(Linux), for a static input, so that nothing but the rule can grow with T. The cosine is that
between the two gradients, for networks with one to four layers of neurons, over all weights and for
those of the first layer; its length is that of the online gradient divided by the other one's.
"""

import argparse
import multiprocessing
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import report
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import spikeloom as snn
from spikeloom.learning import cosine, online

B, INPUTS, HIDDEN, CLASSES = 64, 784, 512, 10
Rule = Callable[[nn.Sequential, Tensor, Tensor, int], Tensor]


def network(layers: int, hidden: int = HIDDEN) -> nn.Sequential:
    """That many layers of leaky neurons, wide enough awake to fire from the first step on."""
    torch.manual_seed(0)
    sizes = [INPUTS, *[hidden] * (layers - 1), CLASSES]
    pairs = [(nn.Linear(a, b), snn.Leaky(0.9, init_hidden=True)) for a, b in pairwise(sizes)]
    return nn.Sequential(*(module for pair in pairs for module in pair))


def bptt(net: nn.Sequential, x: Tensor, y: Tensor, num_steps: int) -> Tensor:
    outputs = snn.run(net, x, num_steps)
    loss = torch.stack([cross_entropy(output, y) for output in outputs.unbind(0)]).mean()
    loss.backward()
    return loss.detach()


def forward_mode(net: nn.Sequential, x: Tensor, y: Tensor, num_steps: int) -> Tensor:
    return online(net, x, y, cross_entropy, num_steps=num_steps)


def batch(size: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(size, INPUTS, generator=generator), torch.randint(
        CLASSES, (size,), generator=generator
    )


def resident(name: str) -> float:
    """``VmRSS`` or ``VmHWM``, its peak, in MiB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def grown(rule: Rule, num_steps: int, results: Any) -> None:
    net, (x, y) = network(3), batch()
    rule(net, x, y, 2)  # libraries and buffers that do not depend on T
    before = resident("VmHWM")
    rule(net, x, y, num_steps)
    results.put(resident("VmHWM") - before)


def peak(rule: Rule, num_steps: int) -> float:
    """What one gradient over ``num_steps`` adds to the peak of a process of its own, in MiB."""
    context = multiprocessing.get_context("fork")  # a forked process starts with a peak of its own
    results = context.Queue()
    process = context.Process(target=grown, args=(rule, num_steps, results))
    process.start()
    value = results.get(timeout=600)
    process.join()
    return value


def gradients(rule: Rule, layers: int, num_steps: int, size: int) -> list[Tensor]:
    net = network(layers).double()
    x, y = batch(size)
    rule(net, x.double(), y, num_steps)
    return [p.grad for p in net.parameters() if p.grad is not None]


def agreement(layers: int, num_steps: int, size: int) -> dict[str, Any]:
    ours, exact = (gradients(rule, layers, num_steps, size) for rule in (forward_mode, bptt))
    return {
        "layers of neurons": layers,
        "T": num_steps,
        "cosine": round(cosine(ours, exact), 4),
        "cosine of layer 1": round(cosine(ours[:1], exact[:1]), 4),
        "length of layer 1": round(float(ours[0].norm() / exact[0].norm()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few steps, small networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        snn.run(network(1), batch()[0], 2)  # what this loads is then there in the forked processes
    steps = (10, 40) if options.smoke else (25, 50, 100, 200, 400)
    rows = [
        {"T": t, "BPTT [MiB]": peak(bptt, t), "online [MiB]": peak(forward_mode, t)} for t in steps
    ]
    report(f"Peak memory over time, 3 layers of {HIDDEN} neurons, batch {B}", rows)
    depths, t, size = ((1, 2), 10, 4) if options.smoke else ((1, 2, 3, 4), 50, B)
    report("Agreement of the two gradients", [agreement(depth, t, size) for depth in depths])


if __name__ == "__main__":
    main()
