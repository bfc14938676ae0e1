"""Train a spiking network on labelled samples and write a checkpoint, a run card and pictures."""

import argparse
from typing import Any

from ..core import checks
from ..core.numbers import path_of
from ..core.options import arguments
from ..files import atomic
from ..learning.registry import rules_of
from ..train import BestCheckpoint, EarlyStopping, fit
from ..train.encoding import ENCODINGS, TIMED
from ..train.folder import OPTIONS
from ..train.models import MODELS, neurons
from ..train.processes import share
from ..train.request import PRECISIONS
from ..train.rules import Rule
from . import config, sources

__all__ = ["HELP", "add_arguments", "run"]

HELP = "train a spiking network on the embedded digits, MNIST, or a folder of samples"
EPOCHS = {"mnist": 10}
HIDDEN = {"mlp": [512], "conv": [16, 32]}
ALSO = {"lif": "leaky"}  # names that the field uses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter

    def option(name: str, default: Any = None, **more: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS if default is None else default, **more)

    sources.add_arguments(option)
    option(
        "--model",
        "mlp",
        choices=list(MODELS),
        help="multilayer perceptron or convolutional network",
    )
    option("--neuron", "leaky", metavar="NAME", help=f"one of {', '.join(neurons())}, or lif")
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
        dest="encode",
        choices=[n for n in ENCODINGS if n != "time_first"],
        help="input code (default: direct; sequence for sounds and events)",
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
        help="passes over the training samples (default: 20, for MNIST 10; --resume takes more)",
    )
    option("--batch-size", 64, type=int, metavar="N", help="samples a batch")
    option(
        "--lr",
        2e-3,
        type=float,
        help="learning rate at the beginning, of Adam; it falls to 0 along a cosine",
    )
    option("--rule", "bptt", choices=list(rules_of(Rule)), help="how the network learns")
    option("--validation", type=float, metavar="PART", help="part of the training samples, 0.1")
    option(
        "--patience",
        type=int,
        metavar="N",
        help="stop after N epochs without a better validation loss, and keep the best weights",
    )
    option("--clip", type=float, metavar="NORM", help="largest norm of all gradients together")
    option("--accumulate", 1, type=int, metavar="N", help="batches for one change of the weights")
    option("--precision", "fp32", choices=list(PRECISIONS), help="of the network's arithmetic")
    option("--device", metavar="NAME", help="such as cuda (default: cpu)")
    option("--workers", 0, type=int, metavar="N", help="processes that load samples")
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
    config.add_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument("--force", action="store_true", help="replace the run in the folder")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument(
        "--time-control",
        action="store_true",
        help="compare with controls that do not know the order of the steps (sequences)",
    )


def run(args: argparse.Namespace) -> int:
    """Train, print the result and where the files are."""
    neuron = ALSO.get(args.neuron) or args.neuron
    checks.choice("neuron", neuron, neurons())
    data = sources.load(args)
    settings = {name: getattr(args, name) for name in ("alpha", "beta") if hasattr(args, name)}
    if not rules_of(Rule)[args.rule].constants:
        known = arguments(neurons()[neuron])
        settings |= {name: False for name in ("learn_alpha", "learn_beta") if name in known}
    hidden = getattr(args, "hidden", HIDDEN[args.model])
    encode = getattr(args, "encode", sources.encoding(data))
    shape, classes = list(data.x_train.shape[1:]), data.num_classes
    shape = shape[1:] if encode in TIMED else shape
    out = path_of("out", getattr(args, "out", f"runs/{data.name}-{args.model}-{neuron}"))
    result = fit(
        lambda: MODELS[args.model](shape, classes, hidden, neuron, **settings),
        data,
        num_steps=None if encode in TIMED else args.num_steps,
        epochs=getattr(args, "epochs", EPOCHS.get(args.data, 20)),
        batch_size=args.batch_size,
        lr=args.lr,
        encode=encode,
        rule=args.rule,
        validation=getattr(args, "validation", None),
        callbacks=callbacks(args),
        clip=getattr(args, "clip", None),
        accumulate=args.accumulate,
        precision=args.precision,
        seed=args.seed,
        seeds=args.seeds,
        threads=getattr(args, "threads", None),
        workers=args.workers,
        device=getattr(args, "device", None),
        out=out,
        resume=args.resume,
        force=args.force,
        progress=not args.quiet,
        time_control=args.time_control,
    )
    if share().main:
        with atomic(out / OPTIONS) as temporary:
            temporary.write_text(config.written(args), encoding="utf-8")
        print(result)
        print(f"run card: {result.paths['card']}")
    return 0


def callbacks(args: argparse.Namespace) -> list[Any]:
    """Early stopping with the best weights, if the options request it."""
    patience = getattr(args, "patience", None)
    if patience is None:
        return []
    if not hasattr(args, "validation"):
        raise ValueError(
            f"patience={patience} watches the validation loss, got no validation samples; write "
            "validation=0.1"
        )
    return [EarlyStopping(patience=patience), BestCheckpoint()]
