"""The data of a command: a bundled set by its name, or a folder of one's own."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core import checks
from ..data import Split, digits, folder, iris, mnist
from ..spikevision.readers import read_nmnist

__all__ = ["READERS", "add_arguments", "bundled", "encoding", "load"]

BUNDLED: dict[str, Callable[[], Split]] = {"digits": digits, "iris": iris}
READERS = {".bin": lambda path: read_nmnist(path.read_bytes(), str(path))}  # events of N-MNIST


def add_arguments(option: Callable[..., Any]) -> None:
    """Define the options that say what the samples are."""
    option(
        "--data",
        "digits",
        metavar="NAME|DIR",
        help="digits, iris, mnist, a .npz file, or a folder with one folder of files for each "
        "class (images, .npy, .wav, events), below train and test or alone",
    )
    option("--data-root", metavar="DIR", help="folder with mnist.npz or the IDX files of MNIST")
    option(
        "--test",
        0.2,
        type=float,
        metavar="PART",
        help="part of a folder that tests, where it is not divided",
    )
    option(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="resize the images of a folder",
    )


def load(args: argparse.Namespace) -> Split:
    """The samples that the options name.

    Raises:
        ValueError: an unknown name, or ``data_root`` is missing or of no use.
    """
    name, root = args.data, getattr(args, "data_root", None)
    if name in (*BUNDLED, "mnist"):
        return bundled(name, root)
    _refuse_root(name, root)
    if not Path(name).exists():
        checks.choice("data, unless it is a folder or a .npz file,", name, [*BUNDLED, "mnist"])
    size = getattr(args, "image_size", None)
    return folder(
        name,
        test=getattr(args, "test", 0.2),
        num_steps=getattr(args, "num_steps", 20),
        image_size=None if size is None else (size[0], size[1]),
        readers=READERS,
    )


def bundled(name: str, root: str | None) -> Split:
    """The data set of a name.

    Raises:
        ValueError: ``root`` is missing or of no use.
    """
    if name == "mnist":
        if root is None:
            raise ValueError(
                "data=mnist needs the folder of its files, got none; write data_root=DIR"
            )
        return mnist(root)
    _refuse_root(name, root)
    return BUNDLED[name]()


def _refuse_root(name: str, root: str | None) -> None:
    if root is not None:
        raise ValueError(f"data_root={root} is for data=mnist, got data={name}; leave it out")


def encoding(data: Split) -> str:
    """The input code of samples: sounds [T, bands] and events [T, P, H, W] carry time themselves.

    >>> encoding(iris())
    'direct'
    """
    return "sequence" if data.x_train.dim() in (3, 5) else "direct"
