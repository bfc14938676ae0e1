"""Train a spiking network on labelled images and write a checkpoint, a run card and pictures."""

import argparse
from pathlib import Path
from typing import Any

from ..core import checks
from ..data import Split, digits, mnist
from ..train import fit
from ..train.encoding import ENCODINGS
from ..train.models import MODELS, neurons

__all__ = ["HELP", "add_arguments", "run"]

HELP = "train a spiking network on the embedded digits, or on MNIST"
EPOCHS = {"digits": 20, "mnist": 10}
HIDDEN = {"mlp": [512], "conv": [16, 32]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter

    def option(name: str, default: Any = None, **more: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS if default is None else default, **more)

    option("--data", "digits", choices=list(EPOCHS), help="data set; digits come with scikit-learn")
    option("--data-root", metavar="DIR", help="folder with mnist.npz or the IDX files of MNIST")
    option(
        "--model",
        "mlp",
        choices=list(MODELS),
        help="multilayer perceptron or convolutional network",
    )
    option("--neuron", "leaky", metavar="NAME", help=f"one of {', '.join(neurons())}")
    option(
        "--hidden",
        type=int,
        nargs="+",
        metavar="N",
        help="neurons of each hidden layer, for conv filters",
    )
    option("--beta", type=float, help="decay of the membrane per step, at the beginning")
    option("--alpha", type=float, help="decay of the synaptic current per step, at the beginning")
    option(
        "--encoding",
        "direct",
        dest="encode",
        choices=[n for n in ENCODINGS if n != "sequence"],
        help="input code",
    )
    option(
        "--steps",
        12,
        type=int,
        dest="num_steps",
        metavar="T",
        help="time steps for which a sample is shown",
    )
    option(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the training samples (default: 20, for MNIST 10)",
    )
    option("--batch-size", 64, type=int, metavar="N", help="samples a batch")
    option(
        "--lr",
        2e-3,
        type=float,
        help="learning rate at the beginning, of Adam; it falls to 0 along a cosine",
    )
    option("--seed", 0, type=int, metavar="N", help="of weights, data order and encoding")
    option(
        "--seeds", 1, type=int, metavar="N", help="number of trainings, for the spread over seeds"
    )
    option(
        "--threads",
        type=int,
        metavar="N",
        help="threads for torch (default: one for small networks)",
    )
    option("--out", metavar="DIR", help="folder for the results (default: runs/DATA-MODEL-NEURON)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument("--force", action="store_true", help="replace the run in the folder")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Train, print the result and where the files are."""
    data = load(args.data, getattr(args, "data_root", None))
    checks.choice("neuron", args.neuron, neurons())
    settings = {name: getattr(args, name) for name in ("alpha", "beta") if hasattr(args, name)}
    hidden = getattr(args, "hidden", HIDDEN[args.model])
    shape, classes = list(data.x_train.shape[1:]), data.num_classes
    out = Path(getattr(args, "out", f"runs/{args.data}-{args.model}-{args.neuron}"))
    result = fit(
        lambda: MODELS[args.model](shape, classes, hidden, args.neuron, **settings),
        data,
        num_steps=args.num_steps,
        epochs=getattr(args, "epochs", EPOCHS[args.data]),
        batch_size=args.batch_size,
        lr=args.lr,
        encode=args.encode,
        seed=args.seed,
        seeds=args.seeds,
        threads=getattr(args, "threads", None),
        out=out,
        resume=args.resume,
        force=args.force,
        progress=not args.quiet,
    )
    print(result)
    print(f"run card: {result.paths['card']}")
    return 0


def load(name: str, root: str | None) -> Split:
    """The data set of that name.

    Raises:
        ValueError: ``root`` is missing, or there is none to give.
    """
    if name == "mnist":
        if root is None:
            raise ValueError(
                "data=mnist needs the folder of its files, got none; write data_root=DIR"
            )
        return mnist(root)
    if root is not None:
        raise ValueError(f"data_root={root} is for data=mnist, got data={name}; leave it out")
    return digits()
