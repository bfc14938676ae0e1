"""Networks that live in time: accuracy on real recordings, beside what needs no time.

    python benchmarks/temporal.py --data FOLDER --results temporal.json             # all rows
    python benchmarks/temporal.py --data FOLDER --results temporal.json --row vowels
    python benchmarks/temporal.py --data FOLDER --row vowels --tuning               # no test part

FOLDER holds the arrays of `temporal_data.py`. Finished seeds are read from ``--results``, so that
rows are trained one by one and the last call prints the table. The network of the last epoch is
judged, once, on the test part; settings were chosen with ``--tuning``, which judges on recordings
set aside from those that train.

Each row has its time control: the same network on steps in another random order for each recording,
trained as usual and trained so, and ridge regression on the mean over time and on intervals. A
row is "static" where training on steps in random order costs less than five points. Operations and
energy of a recording are those of `doctor.cost`, with weights in memory outside the chip.
"""

import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import Seeds, asked, each_seed, kept, options, report, spread
from temporal_data import READERS, Fold, Recordings, made_up
from temporal_networks import Layer, OverTime, interval_means, of_features, of_images
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data, doctor
from spikeloom.data.augmentation import at_steps

STATIC = 5.0  # points
SHUFFLED = ", steps shuffled"
Augment = Callable[[Tensor, torch.Generator], Tensor]
Measure = Callable[[Tensor, Tensor], float]


# -- what is measured ------------------------------------------------------------------------------


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Percent of the recordings whose class has the highest score."""
    return 100 * float((scores.argmax(-1) == y).float().mean())


def balanced(scores: Tensor, y: Tensor) -> float:
    """Mean over the classes of the percent that are recognised."""
    return statistics.fmean(accuracy(scores[y == k], y[y == k]) for k in y.unique())


def sensitivity(scores: Tensor, y: Tensor) -> float:
    """Percent of class 1 above the threshold that 95 % of class 0 do not exceed."""
    margin = scores[:, 1] - scores[:, 0]
    return 100 * float((margin[y == 1] > margin[y == 0].quantile(0.95)).float().mean())


# -- augmentation ----------------------------------------------------------------------------------


def as_they_are(x: Tensor, generator: torch.Generator) -> Tensor:
    return x


def sound(
    x: Tensor,
    generator: torch.Generator,
    *,
    shift: int,
    steps: int,
    bands: int,
    masks: int = 2,
    voice: int = 2,
) -> Tensor:
    """Spectra [T, B, bands, 1] of another time and voice, with masks over steps and bands."""
    x = data.shift_time(x, shift, generator=generator)
    x = shift_features(x, voice, generator)
    return masked(x, generator, steps, bands, masks)


def masked(x: Tensor, generator: torch.Generator, steps: int, bands: int, masks: int = 1) -> Tensor:
    """Spectra [T, B, bands, 1] without some spans of steps and of bands."""
    for axis, most in ((0, steps), (2, bands)):
        for _ in range(masks):
            x = data.mask_spans(x, min(most, x.shape[axis]), axis=axis, generator=generator)
    return x


def another_speaker(
    x: Tensor,
    generator: torch.Generator,
    *,
    voice: float,
    room: float,
    bounds: float,
    bend: float,
    steps: int,
    bands: int,
) -> Tensor:
    """Spectra [T, B, bands, 1] of another vocal tract, rhythm, microphone and level of noise."""
    x = data.warp_mel(x, voice, generator=generator)
    x = of_another_rhythm(x, bounds, bend, generator)
    x = data.equalize_bands(x, room, generator=generator)
    x = over_noise(x, generator)
    x = (x - x.mean((0, 2), keepdim=True)) / x.std((0, 2), keepdim=True)
    return masked(x, generator, steps, bands)


def of_another_rhythm(x: Tensor, bounds: float, bend: float, generator: torch.Generator) -> Tensor:
    """Sequences [T, B, ...] that begin and end elsewhere, faster in one half than in the other."""
    last = len(x) - 1
    begin, end, bow, wave = 2 * torch.rand(4, x.shape[1], generator=generator) - 1
    share = torch.arange(len(x)).unsqueeze(1) / last  # [T, 1]
    half, full = torch.sin(math.pi * share), torch.sin(2 * math.pi * share)
    share = share + bend / math.pi * (bow * half + wave / 4 * full)
    position = torch.lerp(bounds * begin, 1 + bounds * end, share).mul(last).clamp(0, last)
    return at_steps(x, position)


def over_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standardised logarithms of energies [T, B, bands, 1]; half of the recordings get noise."""
    level = 1.5 * torch.rand(x.shape[1], 1, 1, generator=generator) - 2
    noise = level + 0.2 * torch.randn(x.shape, generator=generator)
    noisy = torch.rand(x.shape[1], 1, 1, generator=generator) < 0.5
    return torch.where(noisy, torch.logaddexp(4 * x, 4 * noise) / 4, x)


def shift_features(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Bands of [T, B, bands, ...] higher or lower, as those of a longer or shorter vocal tract."""
    return data.shift_time(x.transpose(0, 2), most, generator=generator).transpose(0, 2)


def moved(x: Tensor, generator: torch.Generator, far: float = 1.0) -> Tensor:
    """Frames [T, B, C, H, W], each recording turned, scaled and shifted a little."""

    def drawn(spread: float) -> Tensor:
        return far * spread * torch.randn(x.shape[1], generator=generator)

    angle, size = drawn(0.15), drawn(0.1).exp()
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    shift = torch.stack([drawn(0.08), drawn(0.08)], 1).unsqueeze(2)  # of half the width
    affine = torch.cat([turned * size.view(-1, 1, 1), shift], 2)
    frames = x.transpose(0, 1).flatten(1, 2)  # [B, T x C, H, W]
    grid = nn.functional.affine_grid(affine, list(frames.shape), align_corners=False)
    frames = nn.functional.grid_sample(frames, grid, align_corners=False)
    return frames.unflatten(1, (len(x), x.shape[2])).transpose(0, 1)


def scaled(x: Tensor, generator: torch.Generator, *, shift: int, spread: float) -> Tensor:
    """Signals [T, B, 1, channels] earlier or later, each larger or smaller."""
    factor = torch.randn(1, x.shape[1], 1, x.shape[3], generator=generator).mul(spread).exp()
    return data.shift_time(x, shift, generator=generator) * factor


# -- the rows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A data set with its network and the settings of its training."""

    data: str
    network: Callable[[], nn.Module]
    augment: Augment
    epochs: int
    lr: float
    batch: int = 64
    weight_decay: float = 1e-2
    smoothing: float = 0.1
    measure: Measure = accuracy
    weighted: bool = False  # classes count alike in the loss
    bins: int = 14  # intervals of the regression that knows time
    penalty: float = 0.1  # of the regression
    control: bool = True  # train also on steps in random order
    solved: float | None = None  # penalty of a readout in closed form, which alone is trained


def words(delays: int = 5) -> OverTime:
    layers = [
        Layer(1, 32, (delays, 5), (2, 2)),
        Layer(32, 48, (delays, 3), (2, 2)),
        Layer(48, 64, (delays, 3), (1, 2)),
        Layer(64, 96, (delays, 5), whole=True),
    ]
    return OverTime(layers, 40, 0.2)


def digits() -> OverTime:
    layers = [
        Layer(1, 16, (5, 5), (2, 2)),
        Layer(16, 32, (5, 3), (2, 2)),
        Layer(32, 48, (5, 3), (1, 2)),
        Layer(48, 64, (5, 4), whole=True),
    ]
    return OverTime(layers, 10, 0.1)


def signals(channels: tuple[int, ...], classes: int) -> OverTime:
    """Three layers without bands; each one halves the number of steps."""
    pairs = itertools.pairwise(channels)
    return OverTime([Layer(i, o, (9, 1), (2, 1)) for i, o in pairs], classes, 0.3)


TASKS = {
    "spoken words": Task(
        "spoken words", words, partial(sound, shift=12, steps=15, bands=6), epochs=30, lr=4e-3
    ),
    "spoken words, one delay": Task(
        "spoken words",
        partial(words, 1),
        partial(sound, shift=12, steps=15, bands=6),
        epochs=30,
        lr=4e-3,
        control=False,
    ),
    "spoken digits": Task(
        "spoken digits",
        digits,
        partial(another_speaker, voice=1.23, room=0.5, bounds=0.08, bend=0.3, steps=5, bands=3),
        epochs=12,
        lr=4e-3,
        batch=32,
    ),
    "event digits": Task(
        "event digits", partial(of_images, 10), moved, epochs=20, lr=4e-3, batch=32
    ),
    "heart beats": Task(
        "heart beats",
        partial(signals, (1, 16, 24, 32), 2),
        partial(scaled, shift=5, spread=0.2),
        epochs=4,
        lr=4e-3,
        measure=sensitivity,
        weighted=True,
        bins=180,
        penalty=1e-3,
    ),
    "muscles": Task(
        "muscles",
        partial(signals, (16, 32, 48, 64), 8),
        partial(scaled, shift=0, spread=0.2),
        epochs=6,
        lr=4e-3,
        measure=balanced,
        weighted=True,
    ),
    "vowels": Task(
        "vowels",
        partial(of_features, 12, 4096, 3, 9),
        as_they_are,
        epochs=0,
        lr=0.0,
        solved=0.01,
    ),
}


# -- training --------------------------------------------------------------------------------------


def shuffled(x: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Recordings [T, B, ...] with their steps in another random order each; padding stays."""
    place = torch.rand(x.shape[:2], generator=generator)
    place += torch.arange(len(x)).unsqueeze(1) >= lengths
    return x[place.argsort(0), torch.arange(x.shape[1])]


def scores_of(net: nn.Module, recordings: Recordings, shuffle: bool) -> tuple[Tensor, float]:
    """Scores [N, classes], and spikes of all hidden neurons in a recording."""
    net.eval()
    generator = torch.Generator().manual_seed(1)
    scores, fired = [], 0.0
    with torch.no_grad():
        for chosen in torch.arange(len(recordings.y)).split(256):
            x, _, lengths = recordings.some(chosen)
            x = x.transpose(0, 1)
            x = shuffled(x, lengths, generator) if shuffle else x
            found, spikes = net(x, lengths)
            scores.append(found)
            fired += sum(float(spk.sum()) for spk in spikes)
    return torch.cat(scores), fired / len(recordings.y)


class Whole(nn.Module):
    """A network as a function of recordings of one length."""

    def __init__(self, net: nn.Module, lengths: Tensor) -> None:
        super().__init__()
        self.net, self.lengths = net, lengths

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, self.lengths)[0]


def cost_of(net: nn.Module, recordings: Recordings) -> dict[str, float]:
    """Operations and energy for a recording: means over some that have about the mean length."""
    near = (recordings.lengths.float() - recordings.lengths.float().mean()).abs().argsort()[:64]
    x, _, lengths = recordings.some(near)
    lengths = torch.full_like(lengths, int(lengths.min()))
    cost = doctor.cost(Whole(net, lengths), x[:, : lengths[0]].transpose(0, 1))
    return {
        "synaptic": cost.total.synaptic,
        "products": cost.total.once,
        "energy": cost.energy(doctor.MEMORY) / 1e6,
    }


def parameter_groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights that decay; leaks, norms, biases and delays, which do not."""
    weights, others = [], []
    for name, parameter in net.named_parameters():
        decays = parameter.dim() > 1 and not name.endswith("delay")
        (weights if decays else others).append(parameter)
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def batches(number: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Random batches; what remains is left out of this epoch."""
    order = torch.randperm(number, generator=generator)
    for start in range(0, max(1, number // size) * size, size):
        yield order[start : start + size]


def trained(task: Task, train: Recordings, seed: int, shuffle: bool, show: Any) -> nn.Module:
    """A network after its last epoch. ``show`` is called with each epoch's network and loss."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = task.network()
    net(train.x[:2].transpose(0, 1), train.lengths[:2])  # makes the readout
    if task.solved is not None:
        solve_readout(net, train, task.solved, generator if shuffle else None)
        return net
    net.train()
    counts = torch.bincount(train.y).clamp(min=1)
    weight = len(train.y) / len(counts) / counts if task.weighted else None
    optimizer = torch.optim.AdamW(parameter_groups(net, task.weight_decay), lr=task.lr)
    steps = task.epochs * max(1, len(train.y) // task.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, task.lr, total_steps=steps, pct_start=0.2
    )
    for epoch in range(task.epochs):
        net.train()
        total = []
        for chosen in batches(len(train.y), task.batch, generator):
            x, y, lengths = train.some(chosen)
            x = x.transpose(0, 1)
            x = shuffled(x, lengths, generator) if shuffle else x
            found, _ = net(task.augment(x, generator), lengths)
            loss = nn.functional.cross_entropy(found, y, weight, label_smoothing=task.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total.append(loss.item())
        show(net, epoch, statistics.fmean(total))
    return net


def result(task: Task, folds: list[Fold], seed: int, shuffle: bool, watch: bool) -> dict[str, Any]:
    """Train a network for each fold, and judge each one once."""

    def judged(net: nn.Module, recordings: Recordings, shuffle: bool) -> tuple[float, float]:
        scores, spikes = scores_of(net, recordings, shuffle)
        return task.measure(scores, recordings.y), spikes

    names = ("each", "read shuffled", "validation", "spikes", "synaptic", "products", "energy")
    each: dict[str, list[float]] = {name: [] for name in names}
    seconds, parameters = 0.0, 0
    for fold in folds:

        def show(net: nn.Module, epoch: int, loss: float, fold: Fold = fold) -> None:
            scored = (
                f", {task.measure(scores_of(net, fold.test, shuffle)[0], fold.test.y):.2f} %"
                if watch
                else ""
            )
            print(f"  epoch {epoch}: loss {loss:.3f}{scored}", flush=True)

        start = time.process_time()
        net = trained(task, fold.train, seed, shuffle, show)
        seconds += time.process_time() - start
        parameters = sum(p.numel() for p in net.parameters())
        reached, spikes = judged(net, fold.test, shuffle)
        each["each"].append(reached)
        each["spikes"].append(spikes)
        each["read shuffled"].append(judged(net, fold.test, True)[0])
        for figure, value in cost_of(net, fold.test).items():
            each[figure].append(value)
        if fold.validation:
            each["validation"].append(judged(net, fold.validation, shuffle)[0])
    means = {name: statistics.fmean(values) for name, values in each.items() if values}
    return {
        "seed": seed,
        "accuracy": means.pop("each"),
        **means,
        "each": each["each"],
        "parameters": parameters,
        "cpu_seconds": seconds / len(folds),
    }


# -- regression ------------------------------------------------------------------------------------


def features(recordings: Recordings, bins: int) -> Tensor:
    """Means over equal intervals of each recording, [N, bins x features]."""
    x = recordings.x.flatten(2).transpose(0, 1)
    return interval_means(x, recordings.lengths, bins).flatten(1)


def ridge(train: Recordings, test: Recordings, bins: int, penalty: float) -> Tensor:
    """Scores [N, classes] of ridge regression on standardised features."""
    x, judged = features(train, bins).double(), features(test, bins).double()
    weight, bias = regression(x, train.y, penalty * len(x))
    return judged @ weight.T + bias


def regression(x: Tensor, y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weights [classes, features] and bias of ridge regression on standardised features [N, ...].

    The system has the size of the smaller one of samples and features.
    """
    mean, deviation = x.mean(0), x.std(0).clamp(min=1e-3)
    x = (x - mean) / deviation
    targets = nn.functional.one_hot(y).to(x)
    offset = targets.mean(0)
    if x.shape[1] <= len(x):
        system = x.T @ x + strength * torch.eye(x.shape[1])
        weight = torch.linalg.solve(system, x.T @ (targets - offset)).T / deviation
    else:
        system = x @ x.T + strength * torch.eye(len(x))
        weight = (x.T @ torch.linalg.solve(system, targets - offset)).T / deviation
    return weight, offset - weight @ mean


def solve_readout(
    net: Any, train: Recordings, penalty: float, order: torch.Generator | None
) -> None:
    """Give a network the readout that ridge regression finds; the rest of it stays as it is.

    Args:
        net: a `Stepwise` whose readout is a linear layer.
        train: the recordings.
        penalty: of the regression, for one feature.
        order: of the steps, where they are shuffled.
    """
    x = train.x.transpose(0, 1)
    x = x if order is None else shuffled(x, train.lengths, order)
    net.eval()
    with torch.no_grad():
        output = snn.run(net.net, x, lengths=train.lengths)
        means = net.means(output, train.lengths).double()
        weight, bias = regression(means, train.y, penalty * means.shape[1])
        net.readout.weight.copy_(weight)
        net.readout.bias.copy_(bias)


def ridge_means(task: Task, folds: list[Fold]) -> dict[str, float]:
    """What ridge regression reaches in the mean over the folds."""
    return {
        f"ridge, {name} [%]": statistics.fmean(
            task.measure(ridge(fold.train, fold.test, bins, task.penalty), fold.test.y)
            for fold in folds
        )
        for name, bins in (("no time", 1), ("time", task.bins))
    }


# -- the table -------------------------------------------------------------------------------------


def row(name: str, done: Seeds, regression: dict[str, float]) -> dict[str, Any]:
    """One line of the table: the means over the seeds."""
    found = done[name]
    without_time = done.get(name + SHUFFLED)

    def mean(key: str, of: list[dict[str, Any]] = found) -> float | None:
        values = [r[key] for r in of if key in r]
        return statistics.fmean(values) if values else None

    reached = statistics.fmean(r["accuracy"] for r in found)
    control = mean("accuracy", without_time) if without_time else None
    return {
        "row": name,
        "test [%]": reached,
        "each seed": ", ".join(f"{r['accuracy']:.1f}" for r in found),
        "validation [%]": mean("validation"),
        "trained shuffled [%]": control,
        "read shuffled [%]": mean("read shuffled"),
        **regression,
        "static": None if control is None else reached - control < STATIC,
        "parameters": found[0]["parameters"],
        "spikes": mean("spikes"),
        "synaptic operations": mean("synaptic"),
        "products": mean("products"),
        "energy [uJ]": mean("energy"),
        "cpu [s]": mean("cpu_seconds"),
    }


def arguments(parser: Any) -> None:
    parser.add_argument("--data", type=Path, default=os.environ.get("SPIKELOOM_DATA"))
    parser.add_argument("--row", nargs="+", help=f"parts of names among {list(TASKS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of those of the row")
    parser.add_argument("--results", type=Path, help="keeps finished seeds")
    parser.add_argument("--tuning", action="store_true", help="judge on recordings set aside")
    parser.add_argument("--folds", type=int, help="the first ones only, while tuning")


def main() -> None:
    args = options(__doc__ or "", repeats=1, smoke="random numbers, one epoch", more=arguments)
    if args.smoke:
        args.epochs, args.seeds = 1, 1
    elif not args.data:
        raise SystemExit("no data folder; write --data with the folder of the recordings")
    if args.folds and not args.tuning:
        raise SystemExit("--folds is for --tuning; a row needs all folds")
    if args.results and args.tuning:
        raise SystemExit("--results keeps figures of the test part, which --tuning has not")
    done, rows = kept(args.results), []
    for name, task in TASKS.items():
        if not asked(name, args.row):
            continue
        if args.epochs:
            task = Task(**{**vars(task), "epochs": args.epochs})
        folds = made_up(task.data) if args.smoke else READERS[task.data](args.data, args.tuning)
        folds = folds[: args.folds]
        for control in (False, True) if task.control and not args.tuning else (False,):
            label = name + SHUFFLED * control

            def train(
                seed: int, task: Task = task, folds: list[Fold] = folds, control: bool = control
            ) -> dict[str, Any]:
                return result(task, folds, seed, control, args.tuning)

            spread(label, each_seed(done, label, 1 if control else args.seeds, train, args.results))
        rows.append(row(name, done, ridge_means(task, folds)))
    report("networks that live in time" + ", tuning" * args.tuning, rows)


if __name__ == "__main__":
    main()
