"""Synthetic tasks for learning with spike times.

Every generator uses the raw output of ``PCG64(seed)``, which is the same in all versions of NumPy,
so that a task is the same on every machine. Spike times are in [0, 1] unless an argument gives
another duration; infinity means no spike.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import real, whole
from .split import Split, stratified

__all__ = ["delayed_xor", "randman", "xor_times", "yin_yang"]

MOST_NUMBERS = 2**30  # 8 GiB
RADIUS = 0.5  # of the symbol
DOT = 0.1  # radius of its dots


def uniform(seed: int, *shape: int) -> np.ndarray:
    """Numbers in [0, 1), from the raw output of PCG64."""
    seed = whole("seed", seed)
    if math.prod(shape) > MOST_NUMBERS:
        raise ValueError(
            f"a task may draw {MOST_NUMBERS} numbers, got sizes that need {math.prod(shape)}; "
            "write fewer samples"
        )
    raw = np.random.PCG64(seed).random_raw(math.prod(shape))
    return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) / 2**53


def _count(name: str, value: int, least: int = 1) -> int:
    return whole(name, value, least, MOST_NUMBERS)


def yin_yang(num_train: int = 5000, num_test: int = 1000, *, seed: int = 0) -> Split:
    """Points in the Yin-Yang symbol with the classes yang, yin and dots.

    The classes are equally frequent. A sample is (x, y, 1 - x, 1 - y): as spike times, every
    coordinate then has an early and a late spike, so that the drive of the network does not depend
    on the values.

    Args:
        num_train: number of training samples.
        num_test: number of test samples.
        seed: number of the draw; test samples are drawn after the training samples.

    Returns:
        Samples [N, 4] of float32 in [0, 1], and classes: 0 yang, 1 yin, 2 dots.

    Raises:
        ValueError: a number is not a positive integer, or ``seed`` is negative.

    Source: Kriener, Göltz & Petrovici (2022), The Yin-Yang dataset, NICE; the regions follow their
    code from memory.

    >>> yin_yang(30, 6)
    Split(yin_yang: 30 training and 6 test samples of shape [4], 3 classes)
    """
    total = _count("num_train", num_train) + _count("num_test", num_test)
    # One point of 13 is in a dot, the rarest class: 60 candidates per sample suffice.
    points = uniform(seed, 60 * total, 2) * 2 * RADIUS
    region = _region(points[:, 0], points[:, 1])
    label = (uniform(seed + 2**32, total) * 3).astype(np.int64)
    chosen = np.zeros(total, np.int64)
    for number in range(3):
        mine = np.flatnonzero(label == number)
        chosen[mine] = np.flatnonzero(region == number)[: len(mine)]
    found = points[chosen]
    x = torch.from_numpy(np.concatenate([found, 1 - found], 1).astype(np.float32))
    y = torch.from_numpy(label)
    text = f"points in the Yin-Yang symbol, classes equally frequent; seed {seed}"
    return Split(x[:num_train], y[:num_train], x[num_train:], y[num_train:], "yin_yang", text)


def _region(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0 yang, 1 yin, 2 dots, -1 outside."""
    right = np.hypot(x - 1.5 * RADIUS, y - RADIUS)
    left = np.hypot(x - 0.5 * RADIUS, y - RADIUS)
    lobe = (left > DOT) & (left <= 0.5 * RADIUS)
    half = (y > RADIUS) & (right > 0.5 * RADIUS)
    yin = ((right <= DOT) | lobe | half).astype(np.int64)
    label = np.where((right < DOT) | (left < DOT), 2, yin)
    return np.where(np.hypot(x - RADIUS, y - RADIUS) <= RADIUS, label, -1)


def xor_times(
    early: float = 0.0,
    late: float = 6.0,
    *,
    bias: float | None = 0.0,
    first: float = 10.0,
    second: float = 16.0,
) -> tuple[Tensor, Tensor]:
    """Exclusive or in spike times: the output should fire early if the two inputs differ.

    Args:
        early: time of an input that is 0, in ms.
        late: time of an input that is 1.
        bias: time of a third input that always fires; None for no such input.
        first: target time of the output if the inputs differ.
        second: target time if they agree.

    Returns:
        Input times [4, 3] (or [4, 2]) and target times [4, 1].

    Raises:
        ValueError: ``late`` is not after ``early``, or ``second`` not after ``first``.

    Source: Bohte, Kok & La Poutré (2002), Neurocomputing 48, 17-37.

    >>> times, wanted = xor_times()
    >>> times.tolist(), wanted.flatten().tolist()
    ([[0.0, 0.0, 0.0], [0.0, 6.0, 0.0], [6.0, 0.0, 0.0], [6.0, 6.0, 0.0]], [16.0, 10.0, 10.0, 16.0])
    """
    given = {"early": early, "late": late, "first": first, "second": second}
    given["bias"] = 0.0 if bias is None else bias
    for name, value in given.items():
        real(name, value, example=0.0)
    for low, high, names in ((early, late, "early and late"), (first, second, "first and second")):
        if not high > low:
            raise ValueError(
                f"{names} must be in this order, got {low} and {high}; write the earlier time first"
            )
    bits = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    times = early + (late - early) * bits
    if bias is not None:
        times = torch.cat([times, torch.full((4, 1), float(bias))], 1)
    differ = bits.sum(1, keepdim=True) == 1
    return times, torch.where(differ, float(first), float(second))


def randman(
    num_classes: int = 10,
    num_units: int = 20,
    num_train: int = 1000,
    num_test: int = 200,
    *,
    dimensions: int = 2,
    smoothness: float = 2.0,
    modes: int = 20,
    seed: int = 0,
) -> Split:
    r"""Spike times on smooth random manifolds, one for each class.

    .. math::
        t_i(z) = \sum_{d} \sum_{k=1}^{modes} \frac{a_{idk}}{k^{\alpha}}
        \sin(2 \pi (k b_{idk} z_d + c_{idk}))

    with a, b, c uniform in [0, 1) for each class and unit i, and z uniform in the unit cube of the
    manifold's dimension; the times of each unit are then stretched to [0, 1] over each manifold.
    Every unit fires once, so that rates carry no information.

    Args:
        num_classes: number of manifolds.
        num_units: spike times of a sample.
        num_train: number of training samples of all classes.
        num_test: number of test samples.
        dimensions: dimensions of a manifold.
        smoothness: alpha, not negative; larger values give simpler manifolds.
        modes: terms of the series.
        seed: number of the draw.

    Returns:
        Samples [N, num_units] of float32 in [0, 1], and the indices of their manifolds.

    Raises:
        ValueError: a number is out of range.

    Source: Zenke & Vogels (2021), Neural Comput. 33, 899-925; the formula is from memory, and the
    product over dimensions is a sum here.

    >>> randman(3, 5, 60, 30)
    Split(randman: 60 training and 30 test samples of shape [5], 3 classes)
    """
    num_classes = _count("num_classes", num_classes)
    num_units = _count("num_units", num_units)
    num_train = _count("num_train", num_train)
    num_test = _count("num_test", num_test)
    dimensions = _count("dimensions", dimensions)
    modes = _count("modes", modes)
    smoothness = real("smoothness", smoothness, 0.0, 1000.0, example=2.0)
    total = num_train + num_test
    y = np.arange(total) % num_classes
    shape = (num_classes, num_units, dimensions, modes)
    a, b, c = uniform(seed, 3, *shape)
    z = uniform(seed + 2**32, total, dimensions)
    k = np.arange(1, modes + 1)
    with np.errstate(over="ignore"):  # an amplitude of 1 / inf is 0
        falling = k**smoothness
    x = np.zeros((total, num_units))
    for label in range(num_classes):
        mine = y == label
        angle = k * b[label] * z[mine][:, None, :, None] + c[label]
        t = (a[label] / falling * np.sin(2 * np.pi * angle)).sum((-2, -1))
        low = t.min(0)
        high = t.max(0)
        x[mine] = (t - low) / np.where(high > low, high - low, 1.0)
    train, test = stratified(y, num_test, seed)
    samples = torch.from_numpy(x.astype(np.float32))
    labels = torch.from_numpy(y)
    manifolds = f"{num_classes} smooth random manifolds of dimension {dimensions}"
    text = f"spike times on {manifolds}; seed {seed}"
    return Split(samples[train], labels[train], samples[test], labels[test], "randman", text)


def delayed_xor(
    num_train: int = 512, num_test: int = 128, *, num_steps: int = 30, seed: int = 0
) -> Split:
    """Exclusive or of two cues with a delay between them, a memory task in spike trains.

    Each cue is a burst of three steps on one of two channels, 0 or 1; a third channel marks the
    last three steps, in which the answer is due. The second cue begins at a random step after the
    end of the first one.

    Args:
        num_train: number of training samples.
        num_test: number of test samples.
        num_steps: T, at least 12.
        seed: number of the draw.

    Returns:
        Samples [N, T, 3] of float32, 0 or 1 (``encode="sequence"`` of `fit`), and the answers.

    Raises:
        ValueError: a number is out of range.

    >>> split = delayed_xor(4, 2, num_steps=12)
    >>> split.x_train.shape, split.x_train.sum((1, 2)).tolist()
    (torch.Size([4, 12, 3]), [9.0, 9.0, 9.0, 9.0])
    """
    total = _count("num_train", num_train) + _count("num_test", num_test)
    _count("num_steps", num_steps, 12)
    draw = uniform(seed, 3, total)
    bits = (draw[:2] * 2).astype(np.int64)
    second = 3 + (draw[2] * (num_steps - 8)).astype(np.int64)  # from step 3 to T - 6
    x = np.zeros((total, num_steps, 3), np.float32)
    row = np.arange(total)
    for step in range(3):
        x[row, step, bits[0]] = 1.0
        x[row, second + step, bits[1]] = 1.0
        x[:, num_steps - 1 - step, 2] = 1.0
    samples = torch.from_numpy(x)
    labels = torch.from_numpy(bits[0] ^ bits[1])
    text = f"exclusive or of two cues over {num_steps} steps; seed {seed}"
    return Split(
        samples[:num_train],
        labels[:num_train],
        samples[num_train:],
        labels[num_train:],
        "delayed_xor",
        text,
    )
