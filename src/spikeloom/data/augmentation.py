"""Augmentation of sequences: time, gain, noise, masks and mixtures.

Time comes first, [T, B, ...]. Every sample is changed by its own draw. The draws are those of the
generator's device, so that a seed gives one result wherever the sequences are. In a worker of a
``DataLoader`` a generator of the data set is a copy that begins anew in each epoch, the same in all
workers; make one for each sample, or leave it out.
"""

import math

import torch
from torch import Tensor

from ..core import checks
from ..core.numbers import random_source, real, tensor, whole
from .sound import from_mel, to_mel

__all__ = [
    "add_noise",
    "at_steps",
    "crop_time",
    "equalize_bands",
    "mask_spans",
    "mix",
    "scale_gain",
    "shift_time",
    "stretch_time",
    "uniform",
    "warp_mel",
]


def shift_time(
    x: Tensor, most: int, *, fill: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Shifts every sample by a random number of steps, earlier or later.

    Args:
        x: sequences, [T, B, ...].
        most: the largest shift in steps, in [0, T]; every shift up to it is equally likely.
        fill: value of the steps that become free.
        generator: of the draws.

    Returns:
        As ``x``; what leaves the sequence is lost.

    Raises:
        ValueError: no batch over time, or ``most`` is out of range.

    >>> x = torch.arange(1.0, 5).view(4, 1)
    >>> shift_time(x, 2, generator=torch.Generator().manual_seed(0)).flatten()
    tensor([0., 0., 1., 2.])
    """
    _batch(x)
    most = whole("most", most, 0, len(x))
    shift = _integers(x, -most, most + 1, generator)
    source = torch.arange(len(x), device=x.device).unsqueeze(1) - shift  # [T, B]
    inside = (source >= 0) & (source < len(x))
    shifted = _steps(x, source.clamp(0, len(x) - 1))
    return shifted.masked_fill(~over_features(inside, x), fill)


def stretch_time(
    x: Tensor, most: float, *, fill: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Plays every sample slower or faster by a random factor, between neighbouring steps linearly.

    Args:
        x: sequences, [T, B, ...], floating point.
        most: the largest factor, >= 1; the logarithm of the factor is uniform between those of 1 /
            most and most.
        fill: value of the steps after the end of a sample that became shorter.
        generator: of the draws.

    Returns:
        As ``x``; the end of a sample that became longer is lost.

    Raises:
        TypeError: ``x`` holds no floats.
        ValueError: no batch over time, or ``most`` is out of range.

    Source: Ko, Peddinti, Povey & Khudanpur (2015), Audio augmentation for speech recognition,
    Interspeech.

    >>> x = torch.arange(6.0).view(6, 1)
    >>> stretch_time(x, 2.0, generator=torch.Generator().manual_seed(1)).flatten()
    tensor([0.0000, 0.6997, 1.3993, 2.0990, 2.7987, 3.4983])
    """
    _batch(x)
    checks.floating(x, "x")
    most = real("most", most, 1.0, example=1.2)
    factor = most ** (2 * uniform(x, x.shape[1], generator=generator) - 1)
    position = torch.arange(len(x), device=x.device).unsqueeze(1) / factor  # [T, B]
    last = len(x) - 1
    inside = over_features(position <= last, x)
    return at_steps(x, position.clamp(max=last)).masked_fill(~inside, fill)


def warp_mel(
    x: Tensor,
    most: float,
    *,
    lowest: float = 60.0,
    highest: float = 4000.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Raises or lowers all frequencies of every sample by a random factor, as another voice.

    The resonances of a shorter vocal tract are higher by one factor.

    Args:
        x: energies of mel bands, [T, B, bands, ...], floating point.
        most: the largest factor, >= 1; the logarithm of the factor is uniform between those of 1 /
            most and most.
        lowest: lower end of the first band, in Hz, as in `mel`.
        highest: upper end of the last band, in Hz, as in `mel`.
        generator: of the draws.

    Returns:
        As ``x``, interpolated linearly between bands; frequencies outside of the spectrum take the
        value of the first or the last band.

    Raises:
        TypeError: ``x`` holds no floats.
        ValueError: no bands, ``most`` is out of range, or ``highest`` is not above ``lowest``.

    Source: Jaitly & Hinton (2013), Vocal tract length perturbation (VTLP) improves speech
    recognition, ICML workshop on deep learning for audio, speech and language processing.

    >>> x = torch.arange(5.0).view(1, 1, 5)
    >>> warp_mel(x, 1.5, generator=torch.Generator().manual_seed(1)).flatten()
    tensor([0.0000, 0.6752, 1.5839, 2.5148, 3.4629])
    """
    _bands(x)
    most = real("most", most, 1.0, example=1.2)
    lowest = real("lowest", lowest, 0.0, example=60.0)
    highest = real("highest", highest, lowest, open_low=True, example=4000.0)
    factor = most ** (2 * uniform(x, x.shape[1], 1, generator=generator) - 1)
    low, high = to_mel(torch.tensor([lowest, highest], dtype=torch.float64)).tolist()
    band = (high - low) / (x.shape[2] + 1)
    place = torch.arange(x.shape[2], device=x.device)
    centres = from_mel(low + band * (place + 1))
    moved = (to_mel(centres / factor) - to_mel(centres)) / band
    position = (place + moved).clamp(0, x.shape[2] - 1).T  # [bands, B]
    return at_steps(x.transpose(0, 2), position).transpose(0, 2)


def equalize_bands(
    x: Tensor, most: float, *, curves: int = 4, generator: torch.Generator | None = None
) -> Tensor:
    """Adds a random smooth curve over the bands to every sample, as another microphone or room.

    Args:
        x: logarithms of the energies of bands, [T, B, bands, ...], floating point.
        most: the largest amplitude of the first cosine, half a period over all bands, in the unit
            of ``x``, >= 0; the k-th has k half periods and at most ``most`` / sqrt(k). Amplitudes
            up to the largest, of both signs, are equally likely.
        curves: number of cosines, >= 1.
        generator: of the draws.

    Returns:
        As ``x``; all steps of a sample receive the same curve, whose mean over the bands is 0.

    Raises:
        TypeError: ``x`` holds no floats.
        ValueError: no bands, ``most`` is negative, or there are no curves.

    >>> x = torch.zeros(1, 1, 4)
    >>> equalize_bands(x, 1.0, curves=1, generator=torch.Generator().manual_seed(0)).flatten()
    tensor([-0.0069, -0.0029,  0.0029,  0.0069])
    """
    _bands(x)
    most = real("most", most, 0.0, example=0.5)
    curves = whole("curves", curves, 1)
    place = (torch.arange(x.shape[2], device=x.device) + 0.5) * (math.pi / x.shape[2])
    number = torch.arange(1, curves + 1, device=x.device).unsqueeze(1)
    cosines = torch.cos(number * place) / number.sqrt()  # [curves, bands]
    amplitude = most * (2 * uniform(x, x.shape[1], curves, generator=generator) - 1)
    return x + over_features((amplitude @ cosines).to(x.dtype), x[0])


def crop_time(x: Tensor, size: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Takes a window of ``size`` steps at a random place of every sample.

    Args:
        x: sequences, [T, B, ...].
        size: steps of the window, in [1, T]; every place is equally likely.
        generator: of the draws.

    Returns:
        [size, B, ...].

    Raises:
        ValueError: no batch over time, or ``size`` is out of range.

    >>> x = torch.arange(5.0).view(5, 1)
    >>> crop_time(x, 3, generator=torch.Generator().manual_seed(0)).flatten()
    tensor([2., 3., 4.])
    """
    _batch(x)
    size = whole("size", size, 1, len(x))
    start = _integers(x, 0, len(x) - size + 1, generator)
    return _steps(x, torch.arange(size, device=x.device).unsqueeze(1) + start)


def scale_gain(x: Tensor, most: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Multiplies every sample by a random gain.

    Args:
        x: sequences, [T, B, ...], floating point; waveforms or energies, not logarithms of them.
        most: the largest gain, in dB, >= 0; gains between -most and most are equally likely.
        generator: of the draws.

    Returns:
        As ``x``.

    Raises:
        TypeError: ``x`` holds no floats.
        ValueError: no batch over time, or ``most`` is negative.

    >>> scale_gain(torch.ones(1, 3), 6.0, generator=torch.Generator().manual_seed(0))
    tensor([[0.9948, 1.4485, 0.5664]])
    """
    _batch(x)
    checks.floating(x, "x")
    most = real("most", most, 0.0, example=6.0)
    decibel = most * (2 * uniform(x, x.shape[1], generator=generator) - 1)
    return x * over_features((10 ** (decibel / 20)).to(x.dtype).unsqueeze(0), x)


def add_noise(x: Tensor, most: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Adds Gaussian noise of a random strength to every sample.

    Args:
        x: sequences, [T, B, ...], floating point.
        most: the largest standard deviation, in the unit of ``x``, >= 0; those between 0 and most
            are equally likely.
        generator: of the draws.

    Returns:
        As ``x``.

    Raises:
        TypeError: ``x`` holds no floats.
        ValueError: no batch over time, or ``most`` is negative.

    >>> add_noise(torch.zeros(2, 2), 0.1, generator=torch.Generator().manual_seed(0))
    tensor([[-0.0144, -0.0822],
            [ 0.0627, -0.0528]])
    """
    _batch(x)
    checks.floating(x, "x")
    most = real("most", most, 0.0, example=0.1)
    deviation = most * uniform(x, x.shape[1], generator=generator)
    place = place_of(generator)
    noise = torch.randn(x.shape, generator=generator, device=place).to(x)
    return x + over_features(deviation.to(x.dtype).unsqueeze(0), x) * noise


def mix(
    x: Tensor,
    targets: Tensor,
    most: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Adds a random share of another sample of the batch to every sample, and mixes the targets.

    Args:
        x: sequences, [T, B, ...], floating point.
        targets: probabilities of the classes, [B, C], such as ``one_hot(y, C).float()``.
        most: the largest share of the other sample, in [0, 1]; shares up to it are equally likely.
        generator: of the draws.

    Returns:
        The mixed sequences, as ``x``, and targets, as ``targets``.

    Raises:
        TypeError: ``x`` or ``targets`` holds no floats.
        ValueError: no batch over time, another number of targets, or ``most`` is out of range.

    Source: Zhang, Cisse, Dauphin & Lopez-Paz (2018), mixup, ICLR, with Beta(1, 1) for ``most`` = 1.

    >>> x, y = torch.tensor([[0.0, 8.0]]), torch.eye(2)
    >>> mix(x, y, generator=torch.Generator().manual_seed(2))[0]
    tensor([[4.9176, 4.9519]])
    """
    _batch(x)
    checks.floating(x, "x")
    checks.floating(tensor("targets", targets), "targets")
    most = real("most", most, 0.0, 1.0)
    if targets.dim() != 2 or len(targets) != x.shape[1]:
        raise ValueError(
            f"targets must be probabilities [B, C] with B = {x.shape[1]}, got "
            f"{tuple(targets.shape)}; write torch.nn.functional.one_hot(y, C).float()"
        )
    share = most * uniform(x, x.shape[1], generator=generator)
    other = uniform(x, x.shape[1], generator=generator).argsort()
    mixed = torch.lerp(x, x[:, other], over_features(share.to(x.dtype).unsqueeze(0), x))
    share = share.to(targets).unsqueeze(1)
    return mixed, torch.lerp(targets, targets[other.to(targets.device)], share)


def mask_spans(
    x: Tensor,
    most: int,
    *,
    axis: int = 0,
    fill: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Masks a random span of steps, or of features, in every sample.

    Args:
        x: sequences, [T, B, ...].
        most: the longest span, in [0, length of the axis]; every length up to it, 0 included, and
            then every place, is equally likely.
        axis: 0 for steps, 2 or more, or negative, for features.
        fill: value inside the span.
        generator: of the draws.

    Returns:
        As ``x``.

    Raises:
        ValueError: no batch over time, no such axis, or ``most`` is out of range.

    Source: Park et al. (2019), SpecAugment, Interspeech, without the warp of time.

    >>> x = torch.ones(6, 1, 1)
    >>> mask_spans(x, 4, generator=torch.Generator().manual_seed(3)).flatten()
    tensor([0., 1., 1., 1., 1., 1.])
    """
    _batch(x)
    place = axis + x.dim() if axis < 0 else axis
    if place == 1 or not 0 <= place < x.dim():
        raise ValueError(
            f"axis must be 0 for time or an axis of features of {tuple(x.shape)}, got {axis}; the "
            "batch is axis 1"
        )
    size = x.shape[place]
    most = whole("most", most, 0, size)
    return x.masked_fill(spans(x, place, _integers(x, 0, most + 1, generator), generator), fill)


def spans(x: Tensor, axis: int, length: Tensor, generator: torch.Generator | None) -> Tensor:
    """A span of ``length`` [B] at a random place of an axis, for each sample, as a mask."""
    size, batch = x.shape[axis], x.shape[1]
    start = (uniform(x, batch, generator=generator) * (size - length + 1)).floor().long()
    positions = torch.arange(size, device=x.device).unsqueeze(1)
    inside = (positions >= start) & (positions < start + length)  # [size, B]
    shape = [1] * x.dim()
    shape[1] = batch
    shape[axis] = size
    return (inside.t() if axis > 1 else inside).reshape(shape)


def uniform(x: Tensor, *shape: int, generator: torch.Generator | None) -> Tensor:
    """Draws from [0, 1) on the device of ``x``.

    >>> uniform(torch.zeros(1), 2, generator=torch.Generator().manual_seed(0))
    tensor([0.4963, 0.7682])
    """
    place = place_of(generator)
    return torch.rand(shape, generator=generator, device=place).to(x.device)


def place_of(generator: torch.Generator | None) -> torch.device:
    """Device on which a generator draws.

    >>> place_of(None)
    device(type='cpu')
    """
    source = random_source(generator)
    return torch.device("cpu") if source is None else source.device


def _integers(x: Tensor, low: int, high: int, generator: torch.Generator | None) -> Tensor:
    """A whole number in [low, high) for each sample, [B]."""
    place = place_of(generator)
    drawn = torch.randint(low, high, (x.shape[1],), generator=generator, device=place)
    return drawn.to(x.device)


def _steps(x: Tensor, step: Tensor) -> Tensor:
    """The steps [T', B] of each sample."""
    return x[step, torch.arange(x.shape[1], device=x.device)]


def at_steps(x: Tensor, position: Tensor) -> Tensor:
    """Values of sequences at fractional steps, between neighbouring steps linearly.

    Args:
        x: [T, B, ...], floating point.
        position: steps of each sample, [T', B], in [0, T - 1].

    >>> at_steps(torch.tensor([[0.0], [4.0]]), torch.tensor([[0.25], [1.0]])).flatten()
    tensor([1., 4.])
    """
    before = position.floor().long()
    after = (before + 1).clamp(max=len(x) - 1)
    share = over_features((position - before).to(x.dtype), x)
    return torch.lerp(_steps(x, before), _steps(x, after), share)


def over_features(values: Tensor, x: Tensor) -> Tensor:
    """Values [T, B] with axes of size 1 for the features of ``x``.

    >>> over_features(torch.ones(3, 2), torch.ones(3, 2, 4, 4)).shape
    torch.Size([3, 2, 1, 1])
    """
    return values.reshape(*values.shape, *[1] * (x.dim() - 2))


def _bands(x: Tensor) -> None:
    _batch(x)
    checks.floating(x, "x")
    if x.dim() < 3 or not x.shape[2]:
        raise ValueError(
            f"x must be energies [T, B, bands, ...], got {tuple(x.shape)}; there must be bands, as "
            "in data.mel(audio, rate).unsqueeze(1) of one recording"
        )


def _batch(x: Tensor) -> None:
    if tensor("x", x).dim() < 2 or not len(x):
        raise ValueError(f"x must be sequences [T, B, ...] with T > 0, got {tuple(x.shape)}")
