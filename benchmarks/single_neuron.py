"""The single neuron of the CSBP authors, its settings literally: both plots, phases and exponents.

    python benchmarks/single_neuron.py [--out docs/images] [--epochs 4000]

Writes chaos_without.png, chaos_with.png, chaos_exponents.png, chaos_bifurcation.png, and prints
what the documentation quotes. With numba (extra `cpu`) it takes about half a minute of processor
time, without it twice that.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.optim import SGD

import spikeloom as snn
from spikeloom import chaos, spikeplot
from spikeloom.chaos import ChaoticLoss, Exponential, SingleNeuron

BETA, Z0 = 0.9995, 10.0


def trained(lr: float, epochs: int, **settings: Any) -> dict[str, chaos.Trajectory]:
    """Plain backpropagation at learning rate ``lr``, and with the chaotic loss at learning rate
    1."""
    plain, driven = SingleNeuron(**settings), SingleNeuron(**settings)
    loss = ChaoticLoss(Z0, anneal=Exponential(BETA))
    return {
        "without": plain.train_on(SGD(plain.parameters(), lr=lr), epochs=epochs),
        "with": driven.train_on(SGD(driven.parameters(), lr=1.0), loss, epochs=epochs),
    }


def exponents(epochs: int) -> chaos.Exponents:
    """Along the annealed training, in float64."""
    neuron = SingleNeuron().double()
    start = torch.full((1, 2), 0.5)
    return chaos.lyapunov(
        lambda state, n: neuron.update(state, Z0 * BETA**n),
        start,
        steps=epochs,
        burn_in=0,
        eps=1e-9,
        counted=True,
    )


def distinct(weight: Tensor, digits: int = 4) -> int:
    """How many values a stretch of the trajectory takes."""
    return len(weight.double().round(decimals=digits).unique())


def scatter(weight: Tensor, path: Path) -> None:
    """The plot of the reference document: w over the epochs."""
    fig, ax = plt.subplots(figsize=(6, 3.5))
    ax.scatter(range(len(weight)), weight, s=2)
    ax.set_xlabel("epoch")
    ax.set_ylabel("weight $w$")
    ax.grid()
    fig.savefig(path)
    plt.close(fig)


def pictures(runs: dict[str, chaos.Trajectory], found: chaos.Exponents, folder: Path) -> float:
    """Draw everything; returns the processor seconds of the diagram of 1,000 strengths."""
    for name, run in runs.items():
        scatter(run.weight, folder / f"chaos_{name}.png")
    ax = spikeplot.lyapunov(found, window=50)
    ax.set_xlabel("epoch")
    ax.figure.savefig(folder / "chaos_exponents.png")
    start = time.process_time()
    diagram = chaos.bifurcation(chaos.feedback, torch.linspace(1.5, 5.0, 1000))
    seconds = time.process_time() - start
    spikeplot.bifurcation(diagram).figure.savefig(folder / "chaos_bifurcation.png")
    plt.close("all")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/images"), help="folder of the pictures"
    )
    parser.add_argument("--epochs", type=int, default=4000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    fast = snn.backends()["numba"] == "available"
    with snn.backend("numba" if fast else "torch"):
        runs = trained(0.001, args.epochs)
        fixed = trained(0.001, args.epochs, steps=10)
        found = exponents(args.epochs)
    with plt.rc_context(spikeplot.theme()):
        seconds = pictures(runs, found, args.out)
    weight = runs["with"].weight
    figures = {
        "w without": runs["without"].weight[-1],
        "w with": weight[-1],
        "task loss without": runs["without"].task_loss[-1],
        "task loss with": runs["with"].task_loss[-1],
        "loss with": runs["with"].loss[-1],
        "w without, 10 steps divided by 10": fixed["without"].weight[-1],
        "w with, 10 steps divided by 10": fixed["with"].weight[-1],
        "distinct w, epochs 400-600": distinct(weight[400:600]),
        "distinct w, epochs 1150-1200": distinct(weight[1150:1200], 2),
        "exponent, epochs 0-600": found.by_eps[0].between(0, 600),
        "exponent, last 1000": found.by_eps[0].between(-1000),
        "last epoch with task loss": int(runs["with"].task_loss.nonzero().max()),
        "settled from epoch": int(((weight - weight[-1]).abs() > 1e-3).nonzero().max()) + 1,
        "CPU s for 1000 strengths": seconds,
    }
    for name, value in figures.items():
        print(f"{name:36s} {float(value):.6g}")
    hundreds = [round(found.by_eps[0].between(n, n + 100), 2) for n in range(0, args.epochs, 100)]
    print(json.dumps({"exponent per 100 epochs": hundreds}))


if __name__ == "__main__":
    main()
