"""A real neuron: fit on one recording of a grasshopper's auditory receptor, predict another one.

    python benchmarks/real_neuron.py --data FOLDER
    python benchmarks/real_neuron.py --data FOLDER --swap       # fit on 2, predict 1

FOLDER holds grasshopper_receptor.npz: two amplitude-modulated sounds of 10 s and the spikes that
the receptor fired, about 90 a second. The sound, in dB, passes a short linear filter and drives a
neuron; filter and neuron are fitted by surrogate gradients to the distance of van Rossum. A leaky
neuron is the control. The rows give the coincidence factor with windows of 4 and 2 ms to both
sides.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import asked, options, report
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import functional as SF

FILE = "grasshopper_receptor.npz"
DT = 0.5  # ms
DELAYS = range(9, 19)  # of the filter, in steps: 4.5 to 9 ms, around the latency of the receptor
SEGMENT, WARM_UP = 1000, 100  # steps
TAU = 6.0  # ms, of the distance of van Rossum
BETA = 0.85  # guess of the decay per step
WINDOWS = (4.0, 2.0)  # ms


class Recording(NamedTuple):
    """Amplitude of the sound in steps of DT, [T], and times of the spikes, in ms."""

    amplitude: Tensor
    spikes: Tensor

    @property
    def duration(self) -> float:
        return len(self.amplitude) * DT


def read(folder: Path) -> list[Recording]:
    """Both recordings."""
    with np.load(folder / FILE, allow_pickle=False) as found:
        step = round(1000 * DT / int(found["dt_us"]))
        return [
            Recording(
                torch.from_numpy(found[f"stimulus{n}"]).unflatten(0, (-1, step)).mean(1),
                torch.from_numpy(found[f"spikes{n}_us"]) / 1000,
            )
            for n in (1, 2)
        ]


def made_up(steps: int = 2000) -> list[Recording]:
    """Random sounds and spikes, for a smoke run."""
    generator = torch.Generator().manual_seed(0)
    return [
        Recording(
            torch.rand(steps, generator=generator),
            torch.rand(steps // 20, generator=generator).sort().values * steps * DT,
        )
        for _ in range(2)
    ]


class Cell(nn.Module):
    """A neuron behind a linear filter of the sound at several delays."""

    def __init__(self, neuron: snn.Neuron, unit: float, bias: float) -> None:
        super().__init__()
        self.filter = nn.Linear(len(DELAYS), 1)
        with torch.no_grad():
            self.filter.weight.zero_()
            self.filter.weight[0, 3:6] = 0.05 * unit
            self.filter.bias.fill_(bias * unit)
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron.scan(self.filter(x))[0]


def leaky() -> Cell:
    return Cell(snn.Leaky(0.8, learn_beta=True, reset_mechanism="zero"), 1.0, 0.15)


def refractory() -> Cell:
    neuron = snn.RefractoryLIF(BETA, 1.0, reset_to=0.0, refractory_steps=4, learn_beta=True)
    return Cell(neuron, 1.0, 0.2)


def adaptive_threshold() -> Cell:
    neuron = snn.AdaptiveThresholdLIF(
        BETA,
        1.0,
        reset_to=0.0,
        refractory_steps=3,
        theta_plus=0.1,
        theta_decay=0.97,
        learn_beta=True,
    )
    return Cell(neuron, 1.0, 0.22)


def adaptive() -> Cell:
    learned = {"learn_alpha": True, "learn_beta": True, "learn_a": True, "learn_b": True}
    neuron = snn.AdLIF(BETA, 0.97, a=0.0, b=0.3, **learned)
    return Cell(neuron, 1 / (1 - BETA), 0.15)


def generalised() -> Cell:
    neuron = snn.GLIF(
        level=5,
        capacitance=1.0,
        leak=(1 - BETA) / DT,
        threshold=1.0,
        refractory_steps=3,
        fraction=0.0,
        offset=0.0,
        spike_rise=0.1,
        spike_decay=0.05,
        jump_1=-0.02,
        jump_2=0.0,
        decay_1=0.2,
        drive=0.005,
        drive_decay=0.1,
        dt=DT,
        learn_threshold=True,
    )
    return Cell(neuron, 1 / DT, 0.22)


# Potentials of EIF and AdEx in mV above rest. A peak of three widths above the rheobase bounds the
# gradient of the upstroke.
POTENTIALS = {"rest": 0.0, "rheobase": 10.0, "reset_to": 0.0, "threshold": 13.0, "sharpness": 1.0}


def exponential() -> Cell:
    tau = DT / (1 - BETA)
    neuron = snn.EIF(tau, dt=DT, learn_parameters=True, **POTENTIALS)
    return Cell(neuron, 10 * tau / DT, 0.2)


def adaptive_exponential() -> Cell:
    leak, tau = 30.0, DT / (1 - BETA)
    neuron = snn.AdEx(
        leak * tau, leak, tau_w=20.0, a=0.0, b=30.0, dt=DT, learn_parameters=True, **POTENTIALS
    )
    return Cell(neuron, 10 * leak * tau / DT, 0.22)


NEURONS: dict[str, Callable[[], Cell]] = {
    "Leaky (control)": leaky,
    "RefractoryLIF": refractory,
    "AdaptiveThresholdLIF": adaptive_threshold,
    "AdLIF": adaptive,
    "GLIF, level 5": generalised,
    "EIF": exponential,
    "AdEx": adaptive_exponential,
}


def sound(recording: Recording, reference: Recording) -> Tensor:
    """Logarithm of the amplitude at the delays, [T, delays], in deviations of ``reference``."""
    level = torch.log10(reference.amplitude + 0.1)
    x = (torch.log10(recording.amplitude + 0.1) - level.mean()) / level.std()
    before = torch.cat([x[:1].expand(DELAYS[-1]), x])
    return torch.stack([before[DELAYS[-1] - d : len(before) - d] for d in DELAYS], 1)


def segments(x: Tensor) -> Tensor:
    """Cuts [T, ...] into [WARM_UP + SEGMENT, B, ...], each with the steps before it."""
    before = torch.cat([x[:1].expand(WARM_UP, *x.shape[1:]), x])
    size = WARM_UP + SEGMENT
    return torch.stack([before[n : n + size] for n in range(0, len(x) - SEGMENT + 1, SEGMENT)], 1)


def fit(cell: Cell, recording: Recording, epochs: int, lr: float = 0.003) -> None:
    """Fits all parameters and returns to the epoch of the lowest distance."""
    train = torch.zeros(len(recording.amplitude), 1)
    train[(recording.spikes / DT).long().clamp(max=len(train) - 1)] = 1
    x, y = segments(sound(recording, recording)), segments(train)[WARM_UP:]
    size = float(cell.filter.weight.detach().abs().sum())
    groups = [{"params": list(cell.filter.parameters()), "lr": lr * size}]
    for parameter in cell.neuron.parameters():  # a step is a share of the value, or of 0.5
        groups.append(
            {"params": [parameter], "lr": lr * max(1.0, 0.1 * float(parameter.detach().abs()))}
        )
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    lowest, best = math.inf, cell.state_dict()
    for _ in range(epochs):
        distance = SF.van_rossum_distance(cell(x)[WARM_UP:], y, TAU / DT).sum() / y.sum()
        if distance.item() < lowest:
            lowest = distance.item()
            best = {name: value.clone() for name, value in cell.state_dict().items()}
        roughness = (cell.filter.weight / size).diff(n=2).square().sum()
        optimizer.zero_grad()
        (distance + 0.1 * roughness).backward()
        for parameter in cell.parameters():  # the upstroke of EIF multiplies gradients
            nn.utils.clip_grad_norm_([parameter], 0.05)
        optimizer.step()
        schedule.step()
    cell.load_state_dict(best)


def predicted(cell: Cell, recording: Recording, reference: Recording) -> Tensor:
    """Times of the neuron's spikes, in ms."""
    with torch.no_grad():
        spk = cell(sound(recording, reference).unsqueeze(1))
    return (spk.flatten().nonzero().flatten() + 0.5) * DT


def gamma(times: Tensor, recording: Recording, window: float) -> float | None:
    """The coincidence factor, or None where the prediction is too dense for the window."""
    if 2 * window * len(times) >= recording.duration:
        return None
    return SF.coincidence_factor(
        times, recording.spikes, window=window, duration=recording.duration
    )


def row(name: str, cell: Cell, both: list[Recording], seconds: float) -> dict[str, Any]:
    times = [predicted(cell, recording, both[0]) for recording in both]
    found: dict[str, Any] = {
        "neuron": name,
        "parameters": sum(p.numel() for p in cell.parameters()),
    }
    for window in WINDOWS:
        for part, each, recording in zip(("fitted", "new"), times, both, strict=True):
            found[f"{part}, {window:g} ms"] = gamma(each, recording, window)
    found["spikes new"] = f"{len(times[1])} of {len(both[1].spikes)}"
    return found | {"cpu [s]": seconds}


def arguments(parser: Any) -> None:
    parser.add_argument("--data", default=os.environ.get("SPIKELOOM_DATA"), help=f"with {FILE}")
    parser.add_argument("--row", nargs="+", help=f"parts of names among {tuple(NEURONS)}")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--swap", action="store_true", help="fit on 2, predict 1")


def main() -> None:
    args = options(__doc__ or "", repeats=1, smoke="random numbers, two epochs", more=arguments)
    if args.smoke:
        args.epochs = 2
    elif not args.data:
        raise SystemExit(f"no data folder; write --data with the folder that holds {FILE}")
    both = made_up() if args.smoke else read(Path(args.data))
    if args.swap:
        both.reverse()
    fast = snn.backends()["numba"] == "available"
    rows = []
    with snn.backend("numba" if fast else "torch"):
        for name, make in NEURONS.items():
            if not asked(name, args.row):
                continue
            cell = make()
            start = time.process_time()
            fit(cell, both[0], args.epochs)
            rows.append(row(name, cell, both, time.process_time() - start))
    report("coincidence factors of an auditory receptor neuron", rows)


if __name__ == "__main__":
    main()
