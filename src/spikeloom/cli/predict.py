"""Classify files with the network of a finished run."""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from ..core.numbers import device_of
from ..data.folder import IMAGES, read_sample
from ..train.encoding import TIMED, encoder
from ..train.model import Model, has_own_loop, spiking_layers
from ..train.readout import readout
from . import runs, sources

__all__ = ["HELP", "add_arguments", "run"]

HELP = "classify images, arrays, sounds or events with the network of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    runs.add_arguments(parser)
    parser.add_argument("files", nargs="+", metavar="FILE", help="files, or folders of files")
    parser.add_argument("--json", action="store_true", help="print JSON with the scores")
    parser.add_argument("--device", metavar="NAME", help="such as cuda (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Print the class of each file."""
    found = runs.finished(Path(args.run))
    files = [file for name in args.files for file in _files(Path(name))]
    x = torch.stack([_sample(file, found) for file in files])
    if args.device is not None:
        found.net.to(device_of("device", args.device))
    layers, last = spiking_layers(found.net, trains=False)
    encoding = encoder(found.encode, found.num_steps, own_loop=has_own_loop(found.net))
    seed = found.card["seeds"][0]
    scores = Model(found.net, encoding, readout(), seed, layers, last).scores(x).cpu()
    for file, row in zip(files, scores, strict=True):
        name, values = found.classes[int(row.argmax())], [round(v, 4) for v in row.tolist()]
        if args.json:
            print(json.dumps({"file": str(file), "class": name, "scores": values}))
        else:
            print(f"{file}: {name} (spikes: {' '.join(f'{value:g}' for value in values)})")
    return 0


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; write the path of a file or a folder")
    if path.is_file():
        return [path]
    known = {*IMAGES, ".wav", ".npy", *sources.READERS}
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in known)
    if not found:
        raise ValueError(f"{path} must hold samples, got none of {', '.join(sorted(known))}")
    return found


def _sample(file: Path, found: runs.Finished) -> Tensor:
    """One file in the shape of the samples that the network was trained on."""
    shape = found.sample_shape
    steps = shape[0] if found.encode in TIMED else 1
    is_image = len(shape) == 3
    events = len(shape) == 4
    sample = read_sample(
        file,
        num_steps=steps,
        sensor_size=(shape[3], shape[2], shape[1]) if events else None,
        image_size=(shape[1], shape[2]) if is_image else None,
        channels=shape[0] if is_image else None,
        readers=sources.READERS,
    )
    if list(sample.shape) != shape:
        raise ValueError(
            f"the network takes samples {shape}, got {list(sample.shape)} in {file}; write files "
            "as those that it was trained on"
        )
    return sample
