"""Sound: reads wav files, trims waveforms, and turns them into the energies of mel bands."""

import wave
from os import PathLike

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import real, whole
from .damage import damage_named, file_of
from .gammatone import checked_waves, frame_energy, frame_sizes

__all__ = [
    "from_mel",
    "mel",
    "mel_filters",
    "read_channels",
    "read_wav",
    "to_mel",
    "trim_silence",
]

REMEDY = "convert it to PCM, e.g. ffmpeg -i in.mp3 -ac 1 -c:a pcm_s16le out.wav"

_FORMATS = {1: (np.dtype("u1"), 128, 128.0), 2: (np.dtype("<i2"), 0, 2.0**15)}
_FORMATS[4] = (np.dtype("<i4"), 0, 2.0**31)


def read_wav(path: "str | PathLike[str]") -> tuple[Tensor, int]:
    """Reads a wav file of one channel.

    Args:
        path: an uncompressed file with 8, 16 or 32 bits a sample.

    Returns:
        The waveform, [N], float32 in [-1, 1], and the sampling rate in Hz.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, compressed, or has another number of channels or bits.

    >>> import tempfile, wave
    >>> with tempfile.NamedTemporaryFile(suffix=".wav") as file:
    ...     with wave.open(file, "wb") as out:
    ...         out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)
    ...         out.writeframes(bytes([0, 0, 0, 64]))
    ...     read_wav(file.name)
    (tensor([0.0000, 0.5000]), 8000)
    """
    samples, rate = read_channels(path)
    channels = samples.shape[1]
    if channels != 1:
        raise ValueError(f"{path} must have one channel, got {channels}; {REMEDY}")
    return samples[:, 0], rate


def read_channels(path: "str | PathLike[str]") -> tuple[Tensor, int]:
    """Reads a wav file, as `read_wav`, of any number of channels, [N, channels]."""
    path = file_of("path", path, "a PCM wav file", "write the path of a recording")
    with damage_named(path, "a PCM wav file", REMEDY):
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(file.getnframes())
            expected = file.getnframes() * channels * width
        if len(raw) != expected:
            raise ValueError(f"{len(raw)} of {expected} bytes of sound")
    if width not in _FORMATS:
        raise ValueError(f"{path} must have 8, 16 or 32 bits a sample, got {8 * width}; {REMEDY}")
    kind, zero, scale = _FORMATS[width]
    samples = np.frombuffer(raw, kind).astype(np.float64).reshape(-1, channels)
    return torch.from_numpy(((samples - zero) / scale).astype(np.float32)), rate


def trim_silence(
    audio: Tensor, rate: float, *, below: float = 30.0, window: float = 0.025, hop: float = 0.010
) -> Tensor:
    """Removes the quiet parts at the beginning and at the end of a waveform.

    Args:
        audio: waveform, [N].
        rate: sampling rate, in Hz.
        below: a window is quiet if its power is more than this below that of the loudest one, in
            dB, >= 0. Powers are those of the waveform without its mean.
        window: duration of a window, in seconds.
        hop: time from one window to the next, in seconds.

    Returns:
        The waveform from its first to its last window that is not quiet, a view of ``audio``. A
        constant waveform is returned whole.

    Raises:
        TypeError: ``audio`` holds no floats.
        ValueError: the waveform is shorter than a window, or a number is out of range.

    >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(4000) / 8000)
    >>> audio = torch.cat([torch.zeros(4000), tone, torch.zeros(2400)])
    >>> trim_silence(audio, 8000).shape  # the tone and less than a window on either side
    torch.Size([4280])
    """
    checked_waves(audio, rate)
    if audio.dim() != 1:
        raise ValueError(
            f"audio must be one waveform [N], got {tuple(audio.shape)}; trim the waveforms of a "
            "batch one by one"
        )
    below = real("below", below, 0.0, example=30.0)
    size, step = frame_sizes(rate, window, hop)
    if len(audio) < size:
        raise ValueError(
            f"audio must have at least one frame of {size} samples, got {len(audio)}; write "
            "window= with a shorter one"
        )
    silent = torch.finfo(audio.dtype).tiny
    centred = audio - audio.mean()
    energies = frame_energy(centred, rate, window=window, hop=hop, floor=silent)
    loud = (energies >= energies.max() - below / 10).nonzero().flatten().tolist()
    end = loud[-1] * step + size if loud[-1] < len(energies) - 1 else len(audio)
    return audio[loud[0] * step : end]


def mel(
    audio: Tensor,
    rate: float,
    *,
    bands: int = 40,
    window: float = 0.025,
    hop: float = 0.010,
    lowest: float = 60.0,
    highest: float | None = None,
    floor: float = 1e-7,
) -> Tensor:
    """Log energies of a waveform in triangular bands, evenly spaced on the mel scale.

    Args:
        audio: waveform, [N], or waveforms, [B, N].
        rate: sampling rate, in Hz.
        bands: number of bands.
        window: duration of a Hann window, in seconds.
        hop: time from one window to the next, in seconds.
        lowest: lower end of the first band, in Hz.
        highest: upper end of the last band, in Hz. Default: half of ``rate``.
        floor: added to the energies, > 0, so that silence has a logarithm.

    Returns:
        log10 of the energies, [T, bands] or [T, B, bands], T = 1 + (N - window) // hop.

    Raises:
        TypeError: ``audio`` holds no floats.
        ValueError: the waveform is shorter than a window, a number is out of range, or a band
            contains no frequency of the window.

    Source: O'Shaughnessy (1987), Speech communication, for the scale 2595 log10(1 + f / 700).

    >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 8000)
    >>> energies = mel(tone, 8000)
    >>> energies.shape, int(energies.mean(0).argmax())
    (torch.Size([98, 40]), 17)
    """
    checked_waves(audio, rate)
    bands = whole("bands", bands, 1)
    real("floor", floor, 0.0, open_low=True)
    size = round(real("window", window, 0.0, open_low=True) * rate)
    step = max(1, round(real("hop", hop, 0.0, open_low=True) * rate))
    if audio.dim() not in (1, 2) or audio.shape[-1] < size or size < 2:
        raise ValueError(
            f"audio must be [N] or [B, N] with N at least one window of {size} samples, got "
            f"{tuple(audio.shape)}"
        )
    top = rate / 2 if highest is None else highest
    if not 0 <= lowest < top <= rate / 2:
        raise ValueError(
            f"the bands must be between 0 and rate / 2 = {rate / 2:g} Hz, got lowest={lowest} and "
            f"highest={top}; write lowest=0, highest={rate / 2:g}"
        )
    frames = audio.unfold(-1, size, step) * torch.hann_window(
        size, dtype=audio.dtype, device=audio.device
    )
    power = torch.fft.rfft(frames).abs().square()  # [..., T, size // 2 + 1]
    filters = mel_filters(bands, size, rate, lowest, top).to(power)
    empty = int((filters.sum(0) == 0).sum())
    if empty:
        raise ValueError(
            f"{empty} of {bands} bands contain no frequency of a window of {size} samples; write "
            "fewer bands or a longer window"
        )
    found = torch.log10(power @ filters + floor)
    return found if audio.dim() == 1 else found.transpose(0, 1)


def mel_filters(bands: int, size: int, rate: float, lowest: float, highest: float) -> Tensor:
    """Weights of the frequencies in triangular bands, [size // 2 + 1, bands], float64."""
    first, last = to_mel(torch.tensor([lowest, highest], dtype=torch.float64)).tolist()
    edges = from_mel(torch.linspace(first, last, bands + 2, dtype=torch.float64))
    frequencies = torch.arange(size // 2 + 1, dtype=torch.float64).unsqueeze(1) * rate / size
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)


def to_mel(frequency: Tensor) -> Tensor:
    """Mel of frequencies in Hz.

    Source: Stevens, Volkmann & Newman (1937), the form 2595 log10(1 + f / 700) of O'Shaughnessy
    (1987).

    >>> to_mel(torch.tensor([0.0, 700.0]))
    tensor([  0.0000, 781.1729])
    """
    return 2595 * torch.log10(1 + frequency / 700)


def from_mel(scale: Tensor) -> Tensor:
    """Frequencies in Hz of mel, the inverse of `to_mel`.

    >>> from_mel(to_mel(torch.tensor([200.0, 3000.0]))).round()
    tensor([ 200., 3000.])
    """
    return 700 * (10 ** (scale / 2595) - 1)
