"""Speed of unsupervised STDP, images per second of processor time on one thread, and of the peer
where it is installed.

    python benchmarks/stdp_speed.py --data DIR [--peer PYTHON] [--smoke]

784 inputs, 100 neurons, 250 steps an image; contenders take turns, medians over rounds. ``--peer``
names the interpreter of an environment with BindsNET, which is then timed in processes of its own
that take their turns with ours, in batches of several sizes; packages that its network does not use
(plots, games, data sets) need not be there. All learn, from the same images; without --data these
are random, with as many lit pixels. "Its rule" is BindsNET's `PostPre` with its rates; BindsNET and
the rows that say so change the weights at every step.
"""

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import report

from spikeloom import data
from spikeloom.learning import DiehlAndCook2015, PostPre

PEER = Path(__file__).with_name("stdp_peer.py")
PEER_NAME = "BindsNET"


def images(root: str | None) -> torch.Tensor:
    """Images [n, 784]."""
    if root:
        return data.mnist(root, flat=True).x_train[:4000]
    generator = torch.Generator().manual_seed(0)
    lit = torch.rand(1000, 784, generator=generator) < 0.19
    return torch.rand(1000, 784, generator=generator) * lit


def contender(x: torch.Tensor, number: int, **options: Any) -> Callable[[], float]:
    """A function that trains on ``number`` images and returns the processor seconds; compiled and
    warm."""
    neurons, rule = options.pop("neurons", 100), options.pop("rule", None)
    start = torch.Generator().manual_seed(0)
    net = DiehlAndCook2015(neurons, rule=rule, generator=start, min_spikes=0)
    generator = torch.Generator().manual_seed(1)
    net.fit(x[:64], generator=generator, **options)

    def run() -> float:
        start = time.process_time()
        net.fit(x[:number], generator=generator, every=number, **options)
        return time.process_time() - start

    return run


def peer(
    python: str, number: int, batch: int, root: str | None
) -> tuple[subprocess.Popen[str], Callable[[], float]]:
    """A process with the peer, and a function that lets it train once."""
    command = [python, str(PEER), str(number), str(batch), *([root] if root else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run() -> float:
        stdin.write("go\n")
        stdin.flush()
        return float(stdout.readline())

    run()
    return process, run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with MNIST")
    parser.add_argument("--peer", help="Python of an environment with BindsNET")
    parser.add_argument("--smoke", action="store_true", help="few images, one round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, rounds, few = images(args.data), 1 if args.smoke else 5, 64 if args.smoke else 256
    its_rule = PostPre(nu_pre=1e-4, nu_post=1e-2)
    runs: dict[str, tuple[int, Callable[[], float]]] = {
        name: (number, contender(x, number, **options))
        for name, number, options in (
            ("event-driven", 5 * few, {"engine": "event"}),
            ("event-driven, 400 neurons", 5 * few, {"engine": "event", "neurons": 400}),
            ("event-driven, its rule, each step", 5 * few, {"engine": "event", "rule": its_rule}),
            ("batches of 16", few, {"engine": "batched", "batch": 16}),
            (
                f"batches of {few}, its rule, each step",
                few,
                {"engine": "batched", "batch": few, "chunk": 1, "rule": its_rule},
            ),
        )
    }
    processes = []
    for batch, number in ((16, 48), (64, 128), (256, 512), (512, 512)) if args.peer else ():
        process, run = peer(args.peer, number, batch, args.data)
        processes.append(process)
        runs[f"{PEER_NAME}, batches of {batch}"] = (number, run)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (_, run) in runs.items():
            seconds[name].append(run())
    for process in processes:
        process.terminate()
        process.wait()
    rates = {name: runs[name][0] / statistics.median(times) for name, times in seconds.items()}
    best = max((rate for name, rate in rates.items() if name.startswith(PEER_NAME)), default=None)
    report(
        "Training, 784 inputs, 250 steps",
        [
            {
                "network": name,
                "images/s": rate,
                "steps/s": 250 * rate,
                f"times {PEER_NAME}'s best": rate / best if best else None,
            }
            for name, rate in rates.items()
        ],
    )


if __name__ == "__main__":
    main()
