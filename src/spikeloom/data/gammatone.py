"""Gammatone filters: the bands of the ear, and their energies."""

import math

import torch
from torch import Tensor

from ..core import checks
from ..core.numbers import real, tensor, whole

__all__ = ["checked_waves", "frame_energy", "frame_sizes", "gammatone", "gammatone_centers"]

ORDER = 4
# Bandwidth of a filter of order 4 relative to the equivalent rectangular bandwidth.
BANDWIDTH = 1.019
# Decay at which an impulse response ends: e^-30 (30 / 3)^3 of its peak is 1e-9.
DECAYED = 30.0


def gammatone_centers(bands: int, lowest: float, highest: float) -> Tensor:
    """Centre frequencies, evenly spaced on the scale of equivalent rectangular bandwidths.

    Args:
        bands: number of bands.
        lowest: lower end of the scale, in Hz, >= 0; the first centre is one interval above it.
        highest: upper end, in Hz; the last centre is one interval below it.

    Returns:
        [bands], in Hz, float64.

    Raises:
        ValueError: ``highest`` is not above ``lowest``, or a number is out of range.

    Source: Glasberg & Moore (1990), Hearing Research 47, 103-138: 21.4 log10(1 + 0.00437 f).

    >>> gammatone_centers(3, 0.0, 4000.0).round().tolist()
    [246.0, 755.0, 1811.0]
    """
    bands = whole("bands", bands, 1)
    lowest = real("lowest", lowest, 0.0, example=60.0)
    highest = real("highest", highest, lowest, open_low=True, example=4000.0)
    first, last = (math.log10(1 + 0.00437 * f) for f in (lowest, highest))
    scale = torch.linspace(first, last, bands + 2, dtype=torch.float64)[1:-1]
    return (10**scale - 1) / 0.00437


def gammatone(
    audio: Tensor,
    rate: float,
    *,
    bands: int = 40,
    lowest: float = 60.0,
    highest: float | None = None,
) -> Tensor:
    r"""Filters a waveform with a bank of gammatone filters.

    .. math::
        g(t) = t^3 e^{-2 \pi b t} \cos(2 \pi f t) \qquad b = 1.019 \cdot 24.7 (1 + 0.00437 f)

    Each filter has gain 1 at its centre frequency f, see `gammatone_centers`.

    Args:
        audio: waveform, [N], or waveforms, [B, N].
        rate: sampling rate, in Hz.
        bands: number of bands.
        lowest: lower end of the bands, in Hz.
        highest: upper end of the bands, in Hz. Default: half of ``rate``.

    Returns:
        Waveforms of the bands, [N, bands] or [N, B, bands].

    Raises:
        TypeError: ``audio`` holds no floats.
        ValueError: the waveform is empty or not finite, or a number is out of range.

    Source: Patterson et al. (1992), Complex sounds and auditory images, for the filter; Glasberg &
    Moore (1990), Hearing Research 47, 103-138, for the bandwidth.

    >>> tone = torch.sin(2 * torch.pi * 755 * torch.arange(8000) / 8000)
    >>> gammatone(tone, 8000, bands=3, lowest=0.0)[4000:].abs().amax(0).round(decimals=2)
    tensor([0., 1., 0.])
    """
    waves = checked_waves(audio, rate)
    top = _highest(rate, highest)
    centers = gammatone_centers(bands, lowest, top).tolist()
    size = audio.shape[-1]
    responses = [_response(center, rate) for center in centers]
    padded = 1 << (size + max(map(len, responses)) - 2).bit_length()
    spectrum = torch.fft.rfft(waves, padded)
    filtered = audio.new_empty(size, len(waves), len(centers))
    for band, response in enumerate(responses):  # one at a time, which bounds the memory
        transfer = torch.fft.rfft(response.to(audio), padded)
        filtered[..., band] = torch.fft.irfft(spectrum * transfer, padded)[:, :size].t()
    return filtered if audio.dim() == 2 else filtered.squeeze(1)


def frame_energy(
    waves: Tensor,
    rate: float,
    *,
    window: float = 0.025,
    hop: float = 0.010,
    floor: float = 1e-7,
) -> Tensor:
    """Log energies of the waveforms of bands in frames.

    Args:
        waves: time first, [N, ...], such as from `gammatone`.
        rate: sampling rate, in Hz.
        window: duration of a frame, in seconds.
        hop: time from one frame to the next, in seconds.
        floor: added to the energies, > 0, so that silence has a logarithm.

    Returns:
        log10 of the mean squares, [T, ...], T = 1 + (N - window) // hop.

    Raises:
        TypeError: ``waves`` holds no floats.
        ValueError: the waveform is shorter than a frame, or a number is out of range.

    >>> frame_energy(torch.full((800, 2), 10.0), 8000).shape
    torch.Size([8, 2])
    """
    checks.floating(tensor("waves", waves), "waves")
    real("rate", rate, 0.0, open_low=True, example=16000.0)
    floor = real("floor", floor, 0.0, open_low=True, example=1e-7)
    size, step = frame_sizes(rate, window, hop)
    if not waves.dim() or len(waves) < size:
        raise ValueError(
            f"waves must be [N, ...] with N at least one frame of {size} samples, got "
            f"{tuple(waves.shape)}"
        )
    return torch.log10(waves.square().unfold(0, size, step).mean(-1) + floor)


def frame_sizes(rate: float, window: float, hop: float) -> tuple[int, int]:
    """Samples of a frame, and from one frame to the next.

    >>> frame_sizes(8000, window=0.025, hop=0.010)
    (200, 80)
    """
    real("window", window, 0.0, open_low=True, example=0.025)
    real("hop", hop, 0.0, open_low=True, example=0.01)
    return max(1, round(window * rate)), max(1, round(hop * rate))


def checked_waves(audio: Tensor, rate: float) -> Tensor:
    """Returns waveforms as [B, N].

    Raises:
        TypeError: ``audio`` holds no floats.
        ValueError: it is neither [N] nor [B, N], empty, or not finite; ``rate`` is not positive.
    """
    checks.floating(tensor("audio", audio), "audio")
    if audio.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"audio must be float32 or float64, got {audio.dtype}; write audio.float()")
    checks.finite(audio, "audio")
    real("rate", rate, 0.0, open_low=True, example=16000.0)
    if audio.dim() not in (1, 2) or not audio.numel():
        raise ValueError(f"audio must be [N] or [B, N], not empty, got {tuple(audio.shape)}")
    return audio if audio.dim() == 2 else audio.unsqueeze(0)


def _highest(rate: float, highest: float | None) -> float:
    if highest is None:
        return rate / 2
    return real("highest", highest, 0.0, rate / 2, open_low=True, example=rate / 2)


def _response(center: float, rate: float) -> Tensor:
    """Impulse response of gain 1 at the centre frequency, float64."""
    decay = 2 * math.pi * BANDWIDTH * 24.7 * (1 + 0.00437 * center)
    time = torch.arange(1 + math.ceil(DECAYED / decay * rate), dtype=torch.float64) / rate
    phase = 2 * math.pi * center * time
    response = (decay * time) ** (ORDER - 1) * torch.exp(-decay * time) * torch.cos(phase)
    real_part, imaginary = (response * torch.cos(phase)).sum(), (response * torch.sin(phase)).sum()
    return response / torch.hypot(real_part, imaginary)
