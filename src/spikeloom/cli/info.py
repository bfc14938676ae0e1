"""Print what a run holds, or what this installation can do."""

import argparse
from pathlib import Path

import torch

from ..core.checks import installed
from ..core.dispatch import backends
from ..train.card import versions
from ..train.result import shown
from . import runs

__all__ = ["HELP", "add_arguments", "run"]

HELP = "say what a run holds, or what this installation can do"
EXTRAS = {
    "numba": "cpu",
    "matplotlib": "viz",
    "tqdm": "viz",
    "h5py": "data",
    "PIL": "data",
    "nir": "nir",
    "tonic": "events",
    "tensorboard": "log",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="folder of a run of spikeloom train")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    for line in _installation() if args.run is None else _of_run(runs.finished(Path(args.run))):
        print(line)
    return 0


def _installation() -> list[str]:
    lines = [f"{name} {version}" for name, version in versions().items()]
    lines += [f"loops over time by {name}: {state}" for name, state in backends().items()]
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    lines.append(f"devices: {', '.join(['cpu', *names])}")
    for package, extra in EXTRAS.items():
        has = "installed" if installed(package) else f'not installed (extra "{extra}")'
        lines.append(f"{package}: {has}")
    return lines


def _of_run(found: runs.Finished) -> list[str]:
    card = found.card
    data, configuration = card["data"], card["configuration"]
    scored = card["spread"]["of"].removesuffix(" after the last epoch")
    value = shown(scored, card["spread"]["each"][0])
    network = card["network"]
    lines = [
        f"{scored}: {value} after epoch {len(card['history'])}",
        f"data: {data['name']}, samples {data['sample_shape']}; {data['description']}",
        f"classes: {', '.join(found.classes)}",
        f"network: {network['parameters']:,} parameters",
        *(f"  {layer}" for layer in network["layers"]),
        *(f"{name}: {value}" for name, value in configuration.items() if value is not None),
        f"seeds: {', '.join(map(str, card['seeds']))}",
        f"files: {', '.join(sorted(path.name for path in found.path.iterdir()))}",
    ]
    return [line.replace("\n", " ") for line in lines]
