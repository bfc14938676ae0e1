"""What conversion loses: accuracy of the ordinary and of the spiking network after each number of
steps.

    python benchmarks/conversion.py --data FOLDER --out FOLDER  # MNIST and the JPEG CIFAR-10 subset
    python benchmarks/conversion.py --data FOLDER --out FOLDER --only mnist
    python benchmarks/conversion.py --smoke                     # scikit-learn's digits, in seconds

Trained networks and finished figures are kept in the output folder and not made again. Thresholds
come from 500 training images, accuracy from all test images. Networks: `conversion_networks.py`.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import asked, options, report
from conversion_networks import NETWORKS, accuracy, trained
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.conversion import convert, fine_tune

DIEHL: dict[str, Any] = {
    "reset": "zero",
    "initial_mem": 0.0,
    "input": "poisson",
    "readout": "spikes",
}
SPIKE_NORM: dict[str, Any] = {
    "method": "spike_norm",
    "initial_mem": 0.0,
    "input": "signed_poisson",
    "readout": "spikes",
}


class Way(NamedTuple):
    """One way to convert.

    Args:
        options: of `convert`.
        steps: longest run.
        levels: of QCFS, where the network is tuned before.
        tests: number of test images, where a run is too long for all.
    """

    options: dict[str, Any]
    steps: int = 16
    levels: int = 0
    tests: int = 10_000


DEFAULT = {"percentile 99.9 (default)": Way({})}
COMMON = {
    "signed, percentile 99.9": Way({"signed": True}),
    "percentile 99": Way({"percentile": 99.0}),
    "mmse, T = 4": Way({"method": "mmse", "num_steps": 4}),
    "max": Way({"method": "max"}),
    "default, start at 0": Way({"initial_mem": 0.0}),
    "default, per channel": Way({"per_channel": True}),
    "default, bias calibrated at T = 4": Way({"calibrate": "bias", "num_steps": 4}),
    "default, potential calibrated at T = 4": Way({"calibrate": "potential", "num_steps": 4}),
}
MNIST = {
    **DEFAULT,
    "QCFS, L = 4": Way({"method": "qcfs"}, 8, 4),
    "QCFS, L = 2": Way({"method": "qcfs"}, 8, 2),
    "Diehl data-based, Poisson": Way({"method": "diehl_data", **DIEHL}, 50),
    **COMMON,
    "Diehl model-based, Poisson": Way({"method": "diehl_model", **DIEHL}, 50),
    "Diehl data-based, Poisson, subtract, membrane": Way(
        {"method": "diehl_data", "input": "poisson"}, 50
    ),
}
CHANNELS = {"method": "mmse", "per_channel": True, "num_steps": 8}
CIFAR = {
    **DEFAULT,
    "mmse, T = 8, per channel, potential calibrated": Way({**CHANNELS, "calibrate": "potential"}),
    "mmse, T = 8, per channel, both calibrated": Way({**CHANNELS, "calibrate": "both"}),
    "percentile 99.9, per channel, potential calibrated at T = 16": Way(
        {"per_channel": True, "num_steps": 16, "calibrate": "potential"}
    ),
    "mmse, T = 8, per channel, potential calibrated, warm-up 1/4": Way(
        {**CHANNELS, "calibrate": "potential", "warm_up": 0.25}
    ),
    "signed, percentile 99.7, per channel": Way(
        {"percentile": 99.7, "per_channel": True, "signed": True}
    ),
    "signed, mmse, T = 8, per channel": Way({**CHANNELS, "signed": True}),
    "signed, mmse, T = 8, per channel, bias calibrated": Way(
        {**CHANNELS, "signed": True, "calibrate": "bias"}
    ),
    "QCFS, L = 4": Way({"method": "qcfs"}, 16, 4),
    "QCFS, L = 4, potential calibrated at T = 8": Way(
        {"method": "qcfs", "calibrate": "potential"}, 16, 4
    ),
    "QCFS, L = 4, signed": Way({"method": "qcfs", "signed": True}, 16, 4),
    "Spike-norm, Poisson (200 images)": Way(SPIKE_NORM, 2048, tests=200),
    "Spike-norm, our input, start and readout (1000 images)": Way(
        {"method": "spike_norm"}, 1024, tests=1000
    ),
    **COMMON,
    "default, max pooling gated": Way({"max_pool": "gate"}),
}
WAYS = {"diehl": MNIST, "mlp": MNIST, "vgg": CIFAR, "resnet": CIFAR}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this script."""
    parser.add_argument(
        "--data", default=os.environ.get("SPIKELOOM_DATA"), help="folder with the data files"
    )
    parser.add_argument(
        "--out", default="conversion-results", help="folder for networks and figures"
    )
    parser.add_argument("--only", choices=["mnist", "cifar10"], help="one data set")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each network")
    parser.add_argument(
        "--ways", nargs="+", metavar="TEXT", help="ways whose name holds one of these texts"
    )
    parser.add_argument("--picture", help="file for the report of the last network's default")
    parser.add_argument("--test", type=int, default=10_000, help="test images")


def curve(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> list[float]:
    """Accuracy in % after each step."""
    right = torch.zeros(steps)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for a, b in zip(x.split(250), y.split(250), strict=True):
            right += (net(a, steps, trace=True, generator=generator).argmax(-1) == b).sum(1)
    return (100 * right / len(y)).tolist()


def tuned(ann: nn.Module, data: snn.data.Split, levels: int, file: Path | None) -> nn.Module:
    """The network with QCFS activations, trained for two more epochs; from the file if it is
    there."""
    if file is not None and file.exists():
        return torch.load(file, weights_only=False)
    torch.manual_seed(1)
    net = fine_tune(ann, (data.x_train, data.y_train), levels=levels, epochs=2, lr=5e-4)
    if file is not None:
        torch.save(net, file)
    return net


def measured(
    ann: nn.Module, way: Way, data: snn.data.Split, tests: int, stem: str = ""
) -> dict[str, Any]:
    """Accuracies of a way to convert, and what they cost; tuned networks are kept as files that
    begin with ``stem``."""
    start = time.process_time()
    tests = min(tests, way.tests)
    x, y = data.x_test[:tests], data.y_test[:tests]
    calibration = data.x_train[:500]
    if way.levels:
        ann = tuned(ann, data, way.levels, Path(f"{stem}-qcfs{way.levels}.pt") if stem else None)
    few = calibration[:64] if way.options.get("method") == "spike_norm" else calibration
    generator = torch.Generator().manual_seed(0)
    net = convert(ann, few, **way.options, generator=generator)
    found = curve(net, x, y, way.steps)
    return {"ann": accuracy(ann, x, y), "curve": found, "CPU-s": time.process_time() - start}


def rows(
    ways: dict[str, Way], results: dict[str, Any], key: Callable[[str], str], base: float
) -> Iterator[Any]:
    """A line of the table for each way that has been measured: the loss in points."""
    for name in ways:
        found = results.get(key(name))
        if found is not None:
            shown = [
                t
                for t in (1, 2, 4, 8, 16, 32, 50, 128, 256, 512, 1024, 2048)
                if t <= ways[name].steps
            ]
            own = found["ann"] if ways[name].tests < 10_000 else base  # of the same images
            yield {"way": name, **{f"T={t}": own - found["curve"][t - 1] for t in shown}}


def main() -> None:
    """Train what is not there, measure what is not known, print losses against the ordinary
    network."""
    found = options(__doc__ or "", repeats=1, smoke="a small network on digits", more=arguments)
    if found.smoke:
        smoke()
        return
    folder = Path(found.out)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for network in found.networks:
        if found.only not in (None, NETWORKS[network].data):
            continue
        data = load(NETWORKS[network].data, Path(found.data))
        for seed in range(found.seeds):
            ann = trained(network, folder, data, seed)
            if found.picture:
                tests = data.x_test[: found.test], data.y_test[: found.test]
                convert(ann, data.x_train[:500]).report(tests, max_steps=16).plot(found.picture)
            for name, way in WAYS[network].items():
                key = f"{network}/{seed}/{name}"
                if key not in results and asked(name, found.ways):
                    results[key] = measured(
                        ann, way, data, found.test, str(folder / f"{network}-{seed}")
                    )
                    file.write_text(json.dumps(results, indent=1) + "\n")
                    print(key, f"{results[key]['CPU-s']:.0f} CPU-s", flush=True)
            base = accuracy(ann, data.x_test[: found.test], data.y_test[: found.test])
            table = list(rows(WAYS[network], results, f"{network}/{seed}/{{}}".format, base))
            report(
                f"{network}, seed {seed}: ordinary {base:.2f} %; loss in points after T steps",
                table,
            )


def load(name: str, root: Path) -> snn.data.Split:
    """A data set by name."""
    return (
        snn.data.mnist(root)
        if name == "mnist"
        else snn.data.cifar10_jpeg(root / "cifar10_jpeg_subset.npz")
    )


def smoke() -> None:
    """A multilayer perceptron on digits: the same calls at a small size."""
    data = snn.data.digits()
    data = data._replace(x_train=data.x_train.flatten(1), x_test=data.x_test.flatten(1))
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(ann.parameters(), 5e-3)
    for _ in range(10):
        for index in torch.randperm(len(data.x_train)).split(64):
            loss = nn.functional.cross_entropy(ann(data.x_train[index]), data.y_train[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    ways = {
        name: MNIST[name]
        for name in ("percentile 99.9 (default)", "QCFS, L = 2", "default, start at 0")
    }
    results = {name: measured(ann, way, data, 10_000) for name, way in ways.items()}
    base = accuracy(ann, data.x_test, data.y_test)
    report(
        f"digits: ordinary {base:.2f} %; loss in points",
        list(rows(ways, results, lambda name: name, base)),
    )


if __name__ == "__main__":
    main()
