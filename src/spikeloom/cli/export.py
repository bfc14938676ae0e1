"""Write the network of a finished run for other programs: NIR, C, safetensors, or one exported
step."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core import checks
from ..core.checks import require
from ..files import atomic
from ..hardware import quantize, to_c
from ..nir import to_nir
from ..saving import OF_RUNS
from ..train.encoding import TIMED
from . import runs

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write the network of a run as NIR (.nir), C99 (.c) or weights (.safetensors)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    runs.add_arguments(parser)
    parser.add_argument(
        "to", metavar="FILE", help="file to write; its ending says what: .nir, .c or .safetensors"
    )
    parser.add_argument(
        "--target", help="of a .nir file: the library that reads it; see snn.nir.to_nir"
    )
    parser.add_argument(
        "--bits", type=int, metavar="N", help="of a .c file: integers, with weights of N bits"
    )
    parser.add_argument(
        "--input-step",
        type=float,
        metavar="S",
        help="with --bits: the value of an input of 1, 1/255 for pixels as bytes (default: 1)",
    )
    parser.add_argument("--force", action="store_true", help="replace the file")


def run(args: argparse.Namespace) -> int:
    """Write the file and print its path."""
    found, path = runs.finished(Path(args.run)), Path(args.to)
    write = WRITERS[checks.choice("the ending of the file", path.suffix, WRITERS)]
    if path.exists() and not args.force:
        raise FileExistsError(f"{path} exists; write another path, or force=True to replace it")
    shape = found.sample_shape[1:] if found.encode in TIMED else found.sample_shape
    for name, ending in (("target", ".nir"), ("bits", ".c")):
        if getattr(args, name) is not None and path.suffix != ending:
            raise ValueError(f"--{name} is for {ending} files, got {path}; leave it out")
    if args.input_step is not None and args.bits is None:
        raise ValueError("--input-step is for integers; write --bits 8, or leave it out")
    with atomic(path) as temporary:
        write(found, torch.zeros(1, *shape), temporary, args)
    print(f"written: {path}")
    return 0


def _nir(found: runs.Finished, sample: Tensor, path: Path, args: argparse.Namespace) -> None:
    nir: Any = require("nir", extra="nir", purpose="writing NIR")
    nir.write(str(path), to_nir(found.net, sample, target=args.target))


def _c(found: runs.Finished, sample: Tensor, path: Path, args: argparse.Namespace) -> None:
    net = found.net
    if args.bits is not None:
        step = 1.0 if args.input_step is None else args.input_step
        net = quantize(net, sample, weight_bits=args.bits, input_step=step)
    path.write_text(to_c(net, sample), encoding="utf-8")


def _weights(found: runs.Finished, sample: Tensor, path: Path, args: argparse.Namespace) -> None:
    shutil.copyfile(found.path / OF_RUNS, path)


WRITERS = {".nir": _nir, ".c": _c, ".safetensors": _weights}
