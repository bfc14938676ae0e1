"""Accuracy of unsupervised STDP on MNIST: the Diehl & Cook network, mean and spread over seeds, and
its course.

    python benchmarks/stdp.py --data DIR --out stdp.json  # the rows of docs/stdp.md
    python benchmarks/stdp.py --smoke                     # a small network on the bundled digits
    python benchmarks/stdp.py --data DIR --held-out       # what settings are chosen on

Labels only name neurons, by the responses to the first 10,000 training images; accuracy is that on
all test images. Training stops where it is told to, and the last figure counts. Every finished seed
is appended to the file that --out names, and is not computed again: an interrupted run goes on
where it stopped. One thread, event-driven engine. With ``--held-out`` the last sixth of the
training images takes the place of the test images, and no network sees it while it learns.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import asked, each_seed, kept, machine

from spikeloom import data
from spikeloom.learning import DiehlAndCook2015, PowerLaw

NAMING = 10_000  # training images that name the neurons
FEW = {"images": 5_000, "theta_plus": 0.4}  # few images need fast thresholds
SLOWER = {"rule": PowerLaw(alpha=0.005, x_tar=0.05, mu=0.0), "tc_theta": 4.5e6}
# few images for each neuron; the time constant is the published one
FASTER = {"rule": PowerLaw(alpha=0.04, x_tar=0.05, mu=0.0), "tc_theta": 1e7}
ROWS: dict[str, dict[str, Any]] = {
    "100 neurons, 5,000 images": {"neurons": 100, **FEW},
    "100 neurons, 5,000 images in batches of 16": {"neurons": 100, **FEW, "batch": 16},
    "100 neurons, 1 pass": {"neurons": 100, "passes": 1},
    "400 neurons, 1 pass": {"neurons": 400, "passes": 1},
    "400 neurons, slower rule, 1 pass": {"neurons": 400, "passes": 1, **SLOWER},
    "1600 neurons, 1 pass": {"neurons": 1600, "passes": 1},
    "6400 neurons, faster rule, 2 passes": {"neurons": 6400, "passes": 2, **FASTER},
}
SMOKE: dict[str, dict[str, Any]] = {
    "40 neurons, smoke": {"neurons": 40, "images": 1000, "theta_plus": 0.5}
}


def held_out(split: data.Split) -> data.Split:
    """The training images alone, the last sixth of them as the test images."""
    size = len(split.x_train) * 5 // 6
    return split._replace(
        x_train=split.x_train[:size],
        y_train=split.y_train[:size],
        x_test=split.x_train[size:],
        y_test=split.y_train[size:],
    )


def marks(images: int, size: int) -> list[int]:
    """Numbers of images after which the network is asked: in one pass, or after each of several."""
    if images > size:
        return [*range(size, images, size), images]
    return sorted({m for m in (1_000, 5_000, 15_000, 30_000) if m < images} | {images})


def score(net: DiehlAndCook2015, split: data.Split, seed: int) -> dict[str, float]:
    """Accuracies on the test images, in percent, for both votes, and what the neurons do."""
    net.eval()
    first, second = (torch.Generator().manual_seed(number + seed) for number in (1000, 2000))
    net.assign(split.x_train[:NAMING], split.y_train[:NAMING], generator=first)
    state = second.get_state()
    found = {}
    for vote in ("all", "proportion"):
        second.set_state(state)
        found[vote] = (
            100
            * (net.predict(split.x_test, vote, generator=second) == split.y_test)
            .double()
            .mean()
            .item()
        )
    net.train()
    return {**found, "theta": net.exc.theta.mean().item()}


def trained(row: dict[str, Any], split: data.Split, seed: int) -> dict[str, Any]:
    """Train one network and note its course."""
    options = dict(row)
    batch, passes = options.pop("batch", None), options.pop("passes", 1)
    images = options.pop("images", passes * len(split.x_train))
    generator = torch.Generator().manual_seed(seed)
    net = DiehlAndCook2015(inputs=split.x_train[0].numel(), generator=generator, **options)
    epochs = -(-images // len(split.x_train))
    curve: list[dict[str, float]] = []
    seconds, wanted = 0.0, marks(images, len(split.x_train))
    start = time.process_time()
    for step in net.rows(
        split.x_train, epochs, net.way("auto", batch), labels=None, every=1000, seed=seed
    ):
        if step.images >= wanted[len(curve)]:
            seconds += time.process_time() - start
            curve.append({"images": step.images, "spikes": step.spikes, **score(net, split, seed)})
            print(f"    {curve[-1]}", flush=True)
            start = time.process_time()
            if len(curve) == len(wanted):
                break
    return {"seed": seed, "cpu_seconds": seconds, **curve[-1], "curve": curve}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with MNIST; without it the bundled digits are used")
    parser.add_argument("--out", type=Path, help="JSON file to which finished seeds are appended")
    parser.add_argument(
        "--rows", nargs="+", metavar="TEXT", help="rows whose name holds one of these texts"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one small network, one seed")
    parser.add_argument(
        "--held-out", action="store_true", help="test on training images that are kept from it"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    split = data.mnist(args.data, flat=True) if args.data else data.digits(flat=True)
    split = held_out(split) if args.held_out else split
    done = kept(args.out)
    for name, row in (SMOKE if args.smoke else ROWS).items():
        if not asked(name, args.rows):
            continue
        finished = each_seed(
            done, name, 1 if args.smoke else args.seeds, partial(trained, row, split), args.out
        )
        report(name, finished)
    print(json.dumps({"machine": machine(), "data": split.name}))


def report(name: str, finished: list[dict[str, Any]]) -> None:
    """Mean and standard deviation over the seeds."""
    for vote in ("all", "proportion"):
        each = [result[vote] for result in finished]
        spread = statistics.stdev(each) if len(each) > 1 else 0.0
        print(f"{name}: vote {vote!r} {statistics.fmean(each):.2f} % +- {spread:.2f}", flush=True)
    print(
        f"  {statistics.fmean(r['cpu_seconds'] for r in finished):.0f} s of processor time for "
        "one training"
    )


if __name__ == "__main__":
    main()
