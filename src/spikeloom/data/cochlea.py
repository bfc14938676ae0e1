"""Sound as spikes of a model of the ear: filters, hair cells, nerve fibres and bushy cells."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import real, whole
from ..neurons.leaky_integrator import LI
from ..neurons.refractory_lif import RefractoryLIF
from .augmentation import place_of
from .gammatone import checked_waves, gammatone

__all__ = ["cochlea"]

# Hair cell, rates per second: Meddis (1986), the constants of LAUSCHER.
FACTORY, RELEASE, LOSS, RETURN, REPROCESS = 5.05, 2000.0, 2500.0, 6580.0, 66.3
PERMEABLE, HALF_RELEASE, FIRING = 5.0, 300.0, 50000.0
RMS_1 = 30.0  # dB SPL of a signal with an RMS of 1 in the units of the hair cell
REFRACTORY = 0.001  # seconds, of fibres and bushy cells
# Bushy cell: LAUSCHER.
MEMBRANE, SYNAPSE, WEIGHT = 0.001, 0.0005, 13000.0
LEAST_RATE = 20000.0  # Hz; below it Euler's method is inaccurate for the hair cell
MOST_DRAWS = 2**22  # random numbers at a time


class _Pools(NamedTuple):
    """Transmitter of a hair cell: free, in the cleft, in reprocessing; [B, bands] each."""

    free: np.ndarray
    cleft: np.ndarray
    store: np.ndarray


def cochlea(
    audio: Tensor,
    rate: float,
    *,
    bands: int = 70,
    lowest: float = 60.0,
    highest: float | None = None,
    level: float = 60.0,
    fibres: int = 40,
    dt: float = 0.001,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Converts a waveform to the spikes of bushy cells, one cell for each frequency band.

    A band drives a hair cell, whose transmitter in the cleft is the firing rate of ``fibres`` nerve
    fibres; they fire at random with a refractory period of 1 ms and converge on a leaky
    integrate-and-fire cell with a synapse of 0.5 ms and a membrane of 1 ms.

    Differences from LAUSCHER, the model of the Spiking Heidelberg Digits: `gammatone` filters
    replace its hydrodynamic basilar membrane; the waveform is scaled to a sound level instead of a
    fixed amplitude, and not faded in and out; the bands are given in Hz; spikes are counted in
    steps of ``dt``. The model runs at 20 kHz or more: a lower rate is repeated. It takes several
    seconds of processor time for a second of sound; a `DiskCache` stores the results.

    Args:
        audio: waveform, [N], or waveforms, [B, N].
        rate: sampling rate, in Hz.
        bands: number of bands; 700 in the Heidelberg digits.
        lowest: lower end of the bands, in Hz.
        highest: upper end of the bands, in Hz. Default: half of ``rate``.
        level: sound level of each waveform, in dB SPL; silence stays silent.
        fibres: nerve fibres of a cell.
        dt: duration of a step, in seconds.
        generator: of the fibres.

    Returns:
        Counts of spikes, [T, bands] or [T, B, bands], T = ceil(N / rate / dt).

    Raises:
        TypeError: ``audio`` holds no floats.
        ValueError: the waveform is empty or not finite, or a number is out of range.

    Source: Cramer, Stradmann, Schemmel & Zenke (2020), IEEE Trans. Neural Netw. Learn. Syst., and
    the constants of its published code; Meddis (1986), J. Acoust. Soc. Am. 79, 702-711, for the
    hair cell.

    >>> tone = torch.sin(2 * torch.pi * 755 * torch.arange(800) / 8000)
    >>> draws = torch.Generator().manual_seed(0)
    >>> spikes = cochlea(tone, 8000, bands=3, lowest=0.0, generator=draws)
    >>> spikes.shape, int(spikes.sum(0).argmax())
    (torch.Size([100, 3]), 1)
    """
    waves = checked_waves(audio, rate)
    level = real("level", level, example=60.0)
    fibres = whole("fibres", fibres, 1)
    dt = real("dt", dt, 0.0, open_low=True, example=0.001)
    place_of(generator)
    rms = waves.square().mean(1, keepdim=True).sqrt()
    amplitude = 10 ** ((level - RMS_1) / 20)
    scaled = torch.where(rms > 0, waves / rms * amplitude, 0.0)
    with torch.no_grad():
        motion = gammatone(scaled, rate, bands=bands, lowest=lowest, highest=highest)
        repeats = max(1, math.ceil(LEAST_RATE / rate))
        fine = rate * repeats
        impulses = _fibre_spikes(motion, repeats, fine, fibres, generator)
        spikes = _bushy_cells(impulses, fine, fibres)
    steps = math.ceil(round(len(motion) / rate / dt, 9))
    step = (
        (torch.arange(len(spikes), device=audio.device) / (fine * dt)).long().clamp(max=steps - 1)
    )
    counts = spikes.new_zeros(steps, *spikes.shape[1:]).index_add_(0, step, spikes)
    return counts if audio.dim() == 2 else counts.squeeze(1)


def _fibre_spikes(
    motion: Tensor, repeats: int, rate: float, fibres: int, generator: torch.Generator | None
) -> Tensor:
    """Spikes of the fibres of each band, [N * repeats, B, bands].

    The loop is NumPy's, whose operations on a few hundred numbers cost a fifth of torch's.
    """
    place = place_of(generator)
    moved = motion.cpu().numpy()
    pools = _resting(moved[0])
    silent = round(REFRACTORY * rate)
    ready = np.zeros((fibres, *moved.shape[1:]), np.int64)  # step at which each fibre may fire
    counts = np.empty((len(moved) * repeats, *moved.shape[1:]), moved.dtype)
    block = max(1, MOST_DRAWS // ready.size)
    for start in range(0, len(counts), block):
        steps = range(start, min(start + block, len(counts)))
        shape = (len(steps), *ready.shape)
        drawn = torch.rand(shape, generator=generator, dtype=motion.dtype, device=place)
        for n, draws in zip(steps, drawn.cpu().numpy(), strict=True):
            pools = _after(pools, moved[n // repeats], rate)
            fired = (draws < FIRING / rate * pools.cleft) & (ready <= n)
            ready[fired] = n + silent
            counts[n] = fired.sum(0)
    return torch.from_numpy(counts).to(motion.device)


def _resting(motion: np.ndarray) -> _Pools:
    """The equilibrium of a hair cell in silence."""
    release = RELEASE * PERMEABLE / (PERMEABLE + HALF_RELEASE)
    cleft = FACTORY * release / (LOSS * release + FACTORY * (LOSS + RETURN))
    return _Pools(
        np.full_like(motion, cleft * (LOSS + RETURN) / release),
        np.full_like(motion, cleft),
        np.full_like(motion, cleft * RETURN / REPROCESS),
    )


def _after(pools: _Pools, motion: np.ndarray, rate: float) -> _Pools:
    """The transmitter one step later, by Euler's method."""
    open_ = np.maximum(motion + PERMEABLE, 0)
    ejected = RELEASE * open_ / (open_ + HALF_RELEASE) * pools.free
    made = FACTORY * np.maximum(1 - pools.free, 0)
    reprocessed = REPROCESS * pools.store
    return _Pools(
        np.maximum(pools.free + (made - ejected + reprocessed) / rate, 0),
        np.maximum(pools.cleft + (ejected - (LOSS + RETURN) * pools.cleft) / rate, 0),
        np.maximum(pools.store + (RETURN * pools.cleft - reprocessed) / rate, 0),
    )


def _bushy_cells(impulses: Tensor, rate: float, fibres: int) -> Tensor:
    """Spikes of the cells on which the fibres of a band converge."""
    synapse = LI(math.exp(-1 / (SYNAPSE * rate)))
    cell = RefractoryLIF(
        math.exp(-1 / (MEMBRANE * rate)),
        threshold=1.0,
        reset_to=0.0,
        refractory_steps=round(REFRACTORY * rate),
    )
    current, _ = synapse.to(impulses).scan(impulses)
    spikes, _ = cell.to(impulses).scan(current * (WEIGHT / fibres / rate))
    return spikes
