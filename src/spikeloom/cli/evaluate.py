"""Evaluate the network of a finished run on test samples."""

import argparse
from pathlib import Path

import torch

from ..data import Split
from ..train import evaluate, macro_f1, time_control
from . import runs, sources

__all__ = ["HELP", "add_arguments", "run"]

HELP = "say how well the network of a run does, on its test samples or on others"
MOST = 20  # classes whose confusion is printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    runs.add_arguments(parser)
    parser.add_argument(
        "--data", metavar="NAME|DIR", help="other samples (default: those of the run)"
    )
    parser.add_argument("--data-root", metavar="DIR", help="folder of the files of MNIST")
    parser.add_argument(
        "--part", choices=["test", "train", "all"], default="test", help="samples that count"
    )
    parser.add_argument("--device", metavar="NAME", help="such as cuda (default: cpu)")
    parser.add_argument(
        "--time-control",
        action="store_true",
        help="compare with controls that do not know the order of the steps (sequences)",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the figures."""
    found = runs.finished(Path(args.run))
    options = found.options
    given = args.data or getattr(options, "data", None)
    if given is None:
        raise ValueError(f"{found.path} does not say its data, got none; write data=DIR")
    root = args.data_root or getattr(options, "data_root", None)
    source = argparse.Namespace(**{**vars(options), "data": given})
    if root is not None and given == "mnist":
        source.data_root = root
    source.num_steps = found.num_steps or found.sample_shape[0]
    data = sources.load(source)
    shape = list(data.x_test.shape[1:])
    if shape != found.sample_shape:
        raise ValueError(
            f"the network takes samples {found.sample_shape}, got {shape} in {given}; write other "
            "data"
        )
    result = evaluate(
        found.net,
        samples(data, args.part),
        num_steps=found.num_steps,
        encode=found.encode,
        metrics={"macro F1": macro_f1},
        device=args.device,
        seed=found.card["seeds"][0],
    )
    print(result)
    if args.time_control:
        print(time_control(found.net, data, encode=found.encode, device=args.device))
    if len(found.classes) <= MOST:
        print("confusion (rows: the class, columns: the prediction)")
        width = max(len(name) for name in found.classes)
        for name, row in zip(found.classes, result.confusion.tolist(), strict=False):
            print(f"{name:>{width}} " + " ".join(f"{count:>5}" for count in row))
    return 0


def samples(data: Split, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples and classes of a part of the data."""
    if part == "train":
        return data.x_train, data.y_train
    if part == "test":
        return data.x_test, data.y_test
    return torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
