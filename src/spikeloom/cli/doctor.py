"""Say why a network does not learn, and what it costs: a saved network or the folder of a run."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.tree import named_neurons
from ..data import Split
from ..doctor import check, cost
from ..doctor.repair import repair
from ..files import atomic
from ..saving import save
from ..train.encoding import ENCODINGS, encoder
from ..train.reading import network
from ..train.readout import readout
from ..train.settings import whole
from .sources import bundled

__all__ = ["HELP", "add_arguments", "run"]

HELP = "say why a saved network does not learn, and what it costs"
DATA = ["digits", "mnist"]
BEGINNINGS = ("net", "network", "model")  # names of the network in the folder of a run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter

    def option(name: str, default: Any = None, **more: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS if default is None else default, **more)

    parser.add_argument("file", metavar="FILE", help="file of snn.save, or the folder of a run")
    parser.add_argument(
        "--trust", action="store_true", help="unpickle the file: that runs whatever code it names"
    )
    option("--data", "digits", choices=DATA, help="data set; digits come with scikit-learn")
    option("--data-root", metavar="DIR", help="folder with mnist.npz or the IDX files of MNIST")
    parser.add_argument("--flat", action="store_true", help="the network takes flattened samples")
    option(
        "--encoding",
        "direct",
        dest="encode",
        choices=[n for n in ENCODINGS if n != "sequence"],
        help="input code",
    )
    option("--steps", 12, type=int, dest="num_steps", metavar="T", help="time steps")
    option("--batch-size", 64, type=int, metavar="N", help="samples to look at")
    option("--lr", type=float, help="learning rate to check, of Adam")
    option("--seed", 0, type=int, metavar="N", help="of the input spikes")
    option("--picture", metavar="FILE", help="draw membranes, activity and gradients")
    option("--repair", metavar="FILE", help="write a repaired network")


def run(args: argparse.Namespace) -> int:
    """Print findings and cost; 1 if something was found."""
    whole("batch_size", args.batch_size)
    whole("num_steps", args.num_steps)
    net = network(network_file(Path(args.file)), args.trust)
    if not any(True for _ in named_neurons(net)):
        raise ValueError(
            f"{args.file} must hold a network with spiking neurons, got none; "
            "spikeloom convert makes one of an ordinary network"
        )
    data = bundled(args.data, getattr(args, "data_root", None))
    x, y = batch(data, args.batch_size, args.flat)
    torch.manual_seed(args.seed)
    value, num_steps = encoder(args.encode, args.num_steps).call(x)
    options: dict[str, Any] = {"num_steps": num_steps}
    if hasattr(args, "lr"):
        checks.in_range("lr", args.lr, 0.0, float("inf"), open_low=True, why="a step is needed")
        options["lr"] = args.lr
    report = check(net, (value, y), readout().loss, **options)
    print(report)
    print()
    print(cost(net, value, num_steps=num_steps))
    if hasattr(args, "picture"):
        with atomic(Path(args.picture)) as temporary:
            report.plot().savefig(temporary, format=Path(args.picture).suffix[1:] or "png")
        print(f"picture: {args.picture}")
    if hasattr(args, "repair"):
        write_repaired(net, (value, y), options, Path(args.repair))
    return int(not report.healthy)


def write_repaired(
    net: nn.Module, batch: tuple[Tensor, Tensor], options: dict[str, Any], path: Path
) -> None:
    """Repair, say what was changed, and write the network."""
    mended = repair(net, batch, readout().loss, **options)
    print(f"\n{mended}")
    save(mended.net, path)
    print(f"repaired network: {path}")


def batch(data: Split, number: int, flat: bool) -> tuple[Tensor, Tensor]:
    """The first training samples and their classes."""
    x = data.x_train[:number]
    return (x.flatten(1) if flat else x), data.y_train[:number]


def network_file(path: Path) -> Path:
    """The file of the network: the path itself, or what a folder holds.

    Raises:
        FileNotFoundError: there is none.
    """
    if path.is_file():
        return path
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    named = [file for file in files if file.stem.startswith(BEGINNINGS)] or files
    if not named:
        what = "a folder without a network" if path.is_dir() else "no file"
        raise FileNotFoundError(
            f"{path} is {what}; write the path of a file that snn.save(net, path) made"
        )
    return named[0]
