"""Learn images without labels by STDP (Diehl & Cook), and write a checkpoint, a run card and the
receptive fields."""

import argparse
from typing import Any

from ..core.numbers import path_of
from ..learning import DiehlAndCook2015, Rule
from ..learning.diehl_cook.training import ENGINES
from ..learning.registry import rules_of
from ..train.progress import progress_for
from ..train.stdp import StdpFolder, StdpRun
from .sources import bundled

__all__ = ["HELP", "add_arguments", "run"]

HELP = "learn images without labels by STDP: the embedded digits, or MNIST"
EPOCHS = {"digits": 3, "mnist": 1}
EVERY = {"digits": 479, "mnist": 1000}
THETA_PLUS = {"digits": 0.5, "mnist": None}  # few images need thresholds that move fast


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of the command."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter

    def option(name: str, default: Any = None, **more: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS if default is None else default, **more)

    option("--data", "digits", choices=list(EPOCHS), help="data set")
    option("--data-root", metavar="DIR", help="folder with mnist.npz or the IDX files of MNIST")
    option("--neurons", 100, type=int, metavar="N", help="excitatory neurons")
    option(
        "--rule",
        metavar="RULE",
        help=f"learning rule with default numbers: {', '.join(rules_of(Rule))}, or FILE.py:NAME "
        "(default: a tuned power law)",
    )
    option(
        "--engine",
        "auto",
        choices=list(ENGINES),
        help="event: numba, one image at a time; batched: torch",
    )
    option("--batch", type=int, metavar="N", help="images at once, of the batched engine")
    option("--theta-plus", type=float, metavar="MV", help="rise of a threshold by a spike, in mV")
    option(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the training images (default: 3, for MNIST 1)",
    )
    option(
        "--every", type=int, metavar="N", help="images from one report and checkpoint to the next"
    )
    option("--seed", 0, type=int, metavar="N", help="of weights, order and input spikes")
    option("--out", metavar="DIR", help="folder for the results (default: runs/stdp-DATA-NEURONS)")
    parser.add_argument(
        "--fields", action="store_true", help="draw the receptive fields at every report"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument("--force", action="store_true", help="replace the run in the folder")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Train, print the result and where the files are."""
    data = bundled(args.data, getattr(args, "data_root", None))
    settings = {
        "data": data.description,
        "neurons": args.neurons,
        "rule": getattr(args, "rule", None),
        "theta_plus": getattr(args, "theta_plus", THETA_PLUS[args.data]),
        "engine": args.engine,
        "batch": getattr(args, "batch", None),
        "epochs": getattr(args, "epochs", EPOCHS[args.data]),
        "every": getattr(args, "every", EVERY[args.data]),
        "seed": args.seed,
    }
    network: dict[str, Any] = {name: settings[name] for name in ("rule", "theta_plus")}
    pixels = data.x_train[0].numel()
    folder = StdpFolder(
        path_of("out", getattr(args, "out", f"runs/stdp-{args.data}-{args.neurons}")), args.seed
    )
    job = StdpRun(
        lambda generator: DiehlAndCook2015(args.neurons, pixels, generator=generator, **network),
        data,
        settings,
        folder,
        args.fields,
        progress_for(not args.quiet),
    )
    with folder.reserved(args.resume, args.force):
        if args.resume:
            job.restore()
        card = job.run()
    scores = ", ".join(
        f"{100 * score:.2f} % (vote {vote})" for vote, score in card["test_accuracy"].items()
    )
    print(f"test accuracy {scores}; {card['cpu_seconds']:.0f} s of processor time")
    print(
        f"receptive fields: {folder.fields}\nrun card: {folder.card}"
        if folder.fields.exists()
        else folder.card
    )
    return 0
