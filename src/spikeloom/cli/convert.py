"""Convert an ordinary network into a spiking one, and report what that loses, where, and what it
costs."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..conversion import METHODS
from ..conversion.calibrate import CALIBRATIONS
from ..conversion.spiking_max_pool import RULES
from ..conversion.twin import INPUTS, READOUTS
from ..core.numbers import path_of
from ..data import Split
from ..train.convert import ORDINARY, ConversionFolder, check_options, convert_and_report
from ..train.ordinary import OrdinaryTraining
from ..train.pictures import pictures_missing
from ..train.processes import check_alone
from ..train.progress import progress_for
from ..train.reading import network, weights
from ..train.settings import checksum, whole
from .sources import bundled

__all__ = ["HELP", "add_arguments", "run"]

HELP = "convert an ordinary network into a spiking one, with a report"
EPOCHS = {"digits": 15, "mnist": 3}
TRUST = (
    "unpickle the file of --model, torch.save(net, FILE): that runs whatever code the file names"
)
LR = 2e-3  # of Adam at the beginning
OPTIONS = (
    "method",
    "num_steps",
    "percentile",
    "reset",
    "initial_mem",
    "input",
    "readout",
    "max_pool",
    "warm_up",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter

    def option(name: str, default: Any = None, **more: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS if default is None else default, **more)

    named = ", ".join(ORDINARY)
    option(
        "--model",
        "conv",
        metavar="FILE",
        help=f"file of snn.save or torch.export.save, or one to train: {named}",
    )
    option(
        "--weights",
        metavar="FILE",
        help="state_dict or safetensors file of the named network, which is not trained",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    option("--data", "digits", choices=list(EPOCHS), help="data set")
    option("--data-root", metavar="DIR", help="folder with mnist.npz or the IDX files of MNIST")
    parser.add_argument("--flat", action="store_true", help="the network takes flattened samples")
    option(
        "--epochs",
        type=int,
        metavar="N",
        help="of training a named network (default: 15, for MNIST 3)",
    )
    conversion_options(parser, option)
    option("--seed", 0, type=int, metavar="N", help="of weights, order and input spikes")
    option("--out", metavar="DIR", help="folder for the results (default: runs/convert-DATA-MODEL)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the conversion in the folder"
    )
    parser.add_argument("--force", action="store_true", help="replace the conversion in the folder")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def conversion_options(parser: argparse.ArgumentParser, option: Callable[..., None]) -> None:
    """Define those that say how the network is converted and judged."""
    option("--method", "percentile", choices=list(METHODS), help="where the thresholds come from")
    option(
        "--steps",
        8,
        type=int,
        dest="num_steps",
        metavar="T",
        help="steps to convert for (mmse, calibration)",
    )
    option("--max-steps", 32, type=int, metavar="T", help="longest run of the report")
    option("--percentile", 99.9, type=float, help="of the activations")
    option(
        "--samples", 500, type=int, metavar="N", help="training samples to measure activations on"
    )
    parser.add_argument("--per-channel", action="store_true", help="a threshold for each channel")
    option("--reset", "subtract", choices=["subtract", "zero"], help="of the neurons")
    option(
        "--initial",
        0.5,
        type=float,
        dest="initial_mem",
        metavar="V",
        help="membrane at rest, of the threshold",
    )
    option("--input", "current", choices=list(INPUTS), help="code of the input")
    option(
        "--readout", "membrane", choices=list(READOUTS), help="what of the last layer is the output"
    )
    option("--max-pool", "max", choices=list(RULES), help="how spikes are max-pooled")
    option("--calibrate", choices=list(CALIBRATIONS), help="correct mean rates on the samples")
    option(
        "--warm-up",
        0.0,
        type=float,
        metavar="F",
        help="fraction of the steps before the output is read",
    )
    parser.add_argument(
        "--signed", action="store_true", help="neurons take back what they fired too early"
    )
    option("--levels", 4, type=int, metavar="L", help="steps of the activations, for --method qcfs")
    option("--tune-epochs", 3, type=int, metavar="N", help="of training with them")
    option("--tolerance", 0.005, type=float, help="accepted loss of accuracy, a fraction")


def run(args: argparse.Namespace) -> int:
    """Load or train, convert, print the report and where the files are."""
    check_alone("spikeloom convert")
    options = {name: getattr(args, name) for name in OPTIONS}
    options |= {
        "per_channel": args.per_channel,
        "signed": args.signed,
        "calibrate": getattr(args, "calibrate", None),
    }
    names = ("samples", "max_steps", "tolerance", "levels", "tune_epochs")
    rest: dict[str, Any] = {name: getattr(args, name) for name in names}
    check_options(options, **rest)
    check_source(args)
    data = bundled(args.data, getattr(args, "data_root", None))
    if args.flat:
        data = data._replace(x_train=data.x_train.flatten(1), x_test=data.x_test.flatten(1))
    say = progress_for(not args.quiet).say
    folder = ConversionFolder(
        path_of("out", getattr(args, "out", f"runs/convert-{args.data}-{Path(args.model).stem}"))
    )
    with folder.reserved(args.resume, args.force):
        net = source(args, data, folder, say)
        _, report = convert_and_report(net, data, folder, options, **rest, seed=args.seed, say=say)
        print(report)
        missing = pictures_missing()
        if not missing:
            report.plot(folder.picture)
    print(
        f"network: {folder.network}\nreport: "
        f"{folder.report}{'' if missing else f', {folder.picture}'}"
    )
    return 0


def check_source(args: argparse.Namespace) -> None:
    """Check the options that say where the ordinary network comes from.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: options exclude each other.
    """
    named, given = args.model in ORDINARY, hasattr(args, "weights")
    if not named and not Path(args.model).is_file():
        raise FileNotFoundError(
            f"model={args.model} is neither a file nor one of {', '.join(ORDINARY)}; write one of "
            "them"
        )
    whole("epochs", getattr(args, "epochs", 1))
    if given and not named:
        raise ValueError(
            f"weights={args.weights} are for a named network, got model={args.model}; write "
            "model=conv"
        )
    if args.trust and named:
        raise ValueError(f"trust=True is about a file, got model={args.model}; leave it out")
    if args.resume and args.force:
        raise ValueError(
            "resume=True goes on with a run and force=True replaces it, got both; leave one out"
        )
    if args.resume and (given or not named):
        source = f"weights={args.weights}" if given else f"model={args.model}"
        raise ValueError(
            f"resume=True goes on with the training of a named network, got {source}, whose "
            "conversion always starts "
            "at the beginning; write force=True"
        )


def source(
    args: argparse.Namespace, data: Split, folder: ConversionFolder, say: Callable[[str], None]
) -> nn.Module:
    """The ordinary network: read, or built and trained."""
    torch.manual_seed(args.seed)
    build = ORDINARY.get(args.model)
    if build is None:
        return network(Path(args.model), args.trust)
    net = build(list(data.x_train.shape[1:]), data.num_classes)
    if hasattr(args, "weights"):
        return weights(Path(args.weights), net)
    settings = {
        "model": args.model,
        "data": data.description,
        "checksum": checksum(data[:4]),
        "flat": args.flat,
        "epochs": getattr(args, "epochs", EPOCHS[args.data]),
        "lr": LR,
        "seed": args.seed,
    }
    training = OrdinaryTraining(net, data, settings, folder, folder.ordinary, say)
    if args.resume:
        training.restore()
    return training.run()
