"""Accuracy of STBP: MNIST with a fully connected and a convolutional network, and saccade events;
last epoch.

    python benchmarks/stbp.py DIR --out stbp.json  # the rows of docs/rules.md
    python benchmarks/stbp.py --smoke              # on the bundled digits, one epoch

DIR holds MNIST. Events are made from its images by `spikeloom.data.saccade`. Every finished seed is
appended to the file that --out names, and is not computed again; an interrupted seed goes on from
its last epoch where --runs names a folder. One thread. Images are a current (encoding "direct"),
the same at every step. In the rows that say so, each training image is shifted by up to one pixel
in each direction, at random; no other image is changed.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import asked, each_seed, kept, machine, spread
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import spikeloom as snn
from spikeloom import data
from spikeloom.learning import stbp_neuron

ROWS: dict[str, dict[str, Any]] = {
    "MNIST 784-800-10": {"net": "linear", "num_steps": 5, "epochs": 20, "lr": 1e-3},
    "MNIST 784-800-10, images shifted": {
        "net": "shifted",
        "num_steps": 8,
        "epochs": 12,
        "lr": 1e-3,
    },
    "MNIST 15C5-P2-40C5-P2-300-10": {"net": "conv", "num_steps": 4, "epochs": 5, "lr": 2e-3},
    "MNIST 15C5-P2-40C5-P2-300-10, images shifted": {
        "net": "conv-shifted",
        "num_steps": 4,
        "epochs": 6,
        "lr": 2e-3,
    },
    "saccade events 28x28x2-800-10": {"net": "events", "num_steps": 8, "epochs": 6, "lr": 1e-3},
}


def linear(shape: torch.Size, channels: int = 1, dropout: float = 0.5) -> nn.Sequential:
    """One hidden layer of 800 neurons, of which a part is left out while training."""
    inputs = channels * shape.numel()
    return nn.Sequential(
        *(
            nn.Flatten(),
            nn.Linear(inputs, 800),
            stbp_neuron(),
            nn.Dropout(dropout) if dropout else nn.Identity(),
        ),
        *(nn.Linear(800, 10), stbp_neuron(output=True)),
    )


def conv(shape: torch.Size) -> nn.Sequential:
    """The published network, with dropout before the last layer."""
    sizes = [(side - 4) // 2 for side in shape[-2:]]
    features = 40 * ((sizes[0] - 4) // 2) * ((sizes[1] - 4) // 2)
    net = nn.Sequential(
        *(nn.Conv2d(shape[0], 15, 5), stbp_neuron(), nn.AvgPool2d(2)),
        *(nn.Conv2d(15, 40, 5), stbp_neuron(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(features, 300), stbp_neuron(), nn.Dropout(0.5)),
        *(nn.Linear(300, 10), stbp_neuron(output=True)),
    )
    for parameter in net.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)  # torch's own weights leave the deeper layers silent
    return net.to(memory_format=torch.channels_last)


def shifted(split: data.Split) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches of training images, each shifted by -1, 0 or 1 pixels down and right, and of test
    images as they are."""
    padded = nn.functional.pad(split.x_train, (1, 1, 1, 1))
    height, width = split.x_train.shape[-2:]

    def batch(samples: list[int]) -> tuple[Tensor, Tensor]:
        places = torch.randint(3, (len(samples), 2)).tolist()
        images = [
            padded[i, :, a : a + height, b : b + width]
            for i, (a, b) in zip(samples, places, strict=True)
        ]
        return torch.stack(images), split.y_train[samples]

    order: Any = range(len(split.y_train))
    test = TensorDataset(split.x_test, split.y_test)
    return DataLoader(order, 100, shuffle=True, collate_fn=batch), DataLoader(test, 100)


def trained(row: dict[str, Any], split: data.Split, runs: Path | None, seed: int) -> dict[str, Any]:
    """Train one network; its checkpoint goes to a folder in ``runs``."""
    folder = runs and runs / f"{row['net']}-{seed}"
    shape = split.x_train.shape[1:]
    nets = {"linear": lambda: linear(shape), "shifted": lambda: linear(shape, dropout=0.0)}
    nets |= {
        "events": lambda: linear(shape, 2),
        **dict.fromkeys(("conv", "conv-shifted"), lambda: conv(shape)),
    }
    result = snn.fit(
        nets[row["net"]],
        shifted(split) if "shifted" in row["net"] else split,
        num_steps=row["num_steps"],
        encode=data.saccade if row["net"] == "events" else "direct",
        rule="stbp",
        epochs=row["epochs"],
        batch_size=100,
        lr=row["lr"],
        seed=seed,
        threads=1,
        out=folder,
        resume=folder is not None and folder.exists(),
    )
    history = [round(100 * epoch["test_accuracy"], 2) for epoch in result.history]
    found = {
        "seed": seed,
        "accuracy": 100 * result.test_accuracy.last,
        "cpu_seconds": result.cpu_seconds,
    }
    return {**found, "spikes": result.spikes_per_neuron, "history": history}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data",
        nargs="?",
        help="folder with MNIST; without it the bundled digits, enlarged, are used",
    )
    parser.add_argument("--out", type=Path, help="JSON file to which finished seeds are appended")
    parser.add_argument("--runs", type=Path, help="folder for checkpoints of unfinished seeds")
    parser.add_argument(
        "--rows", nargs="+", metavar="TEXT", help="rows whose name holds one of these texts"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one seed, one epoch, few images")
    args = parser.parse_args()
    torch.set_num_threads(1)
    split = data.mnist(args.data) if args.data else enlarged(data.digits())
    done = kept(args.out)
    for name, row in ROWS.items():
        if not asked(name, args.rows):
            continue
        row = {**row, "epochs": 1} if args.smoke else row
        train = partial(trained, row, split, args.runs)
        spread(name, each_seed(done, name, 1 if args.smoke else args.seeds, train, args.out))
    print(json.dumps({"machine": machine(), "data": split.name, "rows": done}))


def enlarged(split: data.Split) -> data.Split:
    """The digits of 8 x 8 pixels at the size of MNIST, a few of them."""
    large = nn.Upsample((28, 28), mode="bilinear")
    return split._replace(
        x_train=large(split.x_train[:300]), y_train=split.y_train[:300], x_test=large(split.x_test)
    )


if __name__ == "__main__":
    main()
