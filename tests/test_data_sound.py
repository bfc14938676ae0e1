"""Sound and augmentation: waveforms with known spectra, files written by hand, and draws."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spikeloom import data


def tone(frequency: float, rate: int = 8000, seconds: float = 1.0) -> Tensor:
    time = torch.arange(int(rate * seconds), dtype=torch.float64) / rate
    return torch.sin(2 * torch.pi * frequency * time)


@pytest.mark.parametrize("frequency", [200.0, 700.0, 2500.0])
def test_a_tone_is_loudest_in_the_band_that_contains_it(frequency: float) -> None:
    energies = data.mel(tone(frequency), 8000, bands=20, lowest=60.0, highest=4000.0)
    scale = [2595 * np.log10(1 + f / 700) for f in (60.0, 4000.0, frequency)]
    centres = np.linspace(scale[0], scale[1], 22)[1:-1]
    assert energies.shape == (98, 20)
    assert bool((energies.argmax(1) == int(np.abs(centres - scale[2]).argmin())).all())


def test_twice_the_amplitude_is_four_times_the_energy() -> None:
    quiet, loud = (data.mel(a * tone(700.0), 8000, floor=1e-30) for a in (1.0, 2.0))
    torch.testing.assert_close(loud - quiet, torch.full_like(quiet, np.log10(4)))


def test_a_batch_of_waveforms_is_its_waveforms_and_silence_is_the_floor() -> None:
    waves = torch.stack([tone(500.0), tone(900.0), torch.zeros(8000).double()])
    together = data.mel(waves, 8000)
    assert together.shape == (98, 3, 40)
    for b in range(3):
        torch.testing.assert_close(together[:, b], data.mel(waves[b], 8000))
    torch.testing.assert_close(together[:, 2], torch.full((98, 40), -7.0).double())


def test_bands_from_zero_or_to_half_the_rate_were_refused() -> None:
    audio = tone(500.0)
    torch.testing.assert_close(
        data.mel(audio, 8000), data.mel(audio, 8000, lowest=60.0, highest=4000.0)
    )
    assert data.mel(audio, 8000, lowest=0.0).shape == (98, 40)
    for options in ({"lowest": -1.0}, {"lowest": 900.0, "highest": 900.0}):
        with pytest.raises(ValueError, match="the bands must be between 0 and rate / 2 = 4000 Hz"):
            data.mel(audio, 8000, **options)


def test_a_waveform_of_one_window_has_one_step() -> None:
    audio = tone(500.0)[:200]
    assert data.mel(audio, 8000, bands=10).shape == (1, 10)
    with pytest.raises(ValueError, match="at least one window of 200 samples"):
        data.mel(audio[:199], 8000, bands=10)


def test_trimming_keeps_what_is_loud_and_the_pause_inside() -> None:
    quiet, pause = torch.full((4000,), 0.001).double(), torch.zeros(2400).double()
    quiet[::2] *= -1
    loud = torch.cat([tone(700.0, seconds=0.25), pause, 0.1 * tone(500.0, seconds=0.25)])
    trimmed = data.trim_silence(torch.cat([quiet, loud, quiet]), 8000)
    start = len(trimmed) - len(loud)
    assert 0 <= start < 2 * 200, "less than a window on each side"
    places = [p for p in range(start + 1) if torch.equal(trimmed[p : p + len(loud)], loud)]
    assert places, "no sample between the loud ones is lost"
    strict = data.trim_silence(torch.cat([quiet, loud, quiet]), 8000, below=10.0)
    assert len(strict) < 2000 + 2 * 200, "a tone at -20 dB is quiet beside one that is 10 dB below"


@pytest.mark.parametrize(
    ("levels", "below", "kept"),
    [
        ([0.001, 0.1, 1, 0.1, 0.001], 0.0, (20, 30)),
        ([0.001, 0.1, 1, 0.1, 0.001], 19.0, (20, 30)),
        ([0.001, 0.1, 1, 0.1, 0.001], 21.0, (10, 40)),
        ([0.001, 1, 0.1, 0.001], 21.0, (10, 30)),
        ([0.001, 0.1, 1], 21.0, (10, 33)),  # what is left after the last window belongs to it
        ([1], 21.0, (0, 13)),
    ],
)
def test_windows_were_quiet_at_another_power(
    levels: list[float], below: float, kept: tuple[int, int]
) -> None:
    """Windows of ten samples side by side, and three samples that fill none."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(5)
    parts = [level * signs for level in levels]
    audio = torch.cat([*parts, torch.zeros(3, dtype=torch.float64)])
    found = data.trim_silence(audio, 1000, below=below, window=0.01, hop=0.01)
    assert torch.equal(found, audio[slice(*kept)])
    assert len(data.trim_silence(parts[0], 1000, window=0.01, hop=0.01)) == 10


def test_a_window_or_a_floor_of_nothing_was_accepted() -> None:
    audio = tone(500.0)[:205]
    assert data.mel(audio, 8000, bands=1, hop=1e-9).shape == (6, 1)
    for name in ("floor", "window", "hop"):
        with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
            data.mel(audio, 8000, **{name: 0.0})


def test_trimming_knows_neither_level_nor_offset_and_leaves_silence_whole() -> None:
    audio = torch.cat([torch.zeros(1000), tone(700.0).float(), torch.zeros(1000)])
    found = data.trim_silence(audio, 8000)
    for changed in (1e-3 * audio, audio + 0.5):
        assert len(data.trim_silence(changed, 8000)) == len(found)
    for constant in (torch.zeros(500), torch.ones(500)):
        assert torch.equal(data.trim_silence(constant, 8000), constant)
    loud = tone(700.0, seconds=0.123)
    assert torch.equal(data.trim_silence(loud, 8000), loud)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_wav_file_is_read_as_it_was_written(width: int, tmp_path: Path) -> None:
    kind = {1: "u1", 2: "<i2", 4: "<i4"}[width]
    values = np.array([0.0, 0.5, -1.0, 0.25])
    scaled = values * 2.0 ** (8 * width - 1) + (128 if width == 1 else 0)
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(16000)
        file.writeframes(scaled.astype(kind).tobytes())
    audio, rate = data.read_wav(path)
    assert rate == 16000 and audio.dtype == torch.float32 and audio.tolist() == values.tolist()


def test_damaged_and_unsuitable_wav_files_are_refused_with_their_path(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(400))
    with pytest.raises(ValueError, match=r"a\.wav must have one channel, got 2; convert"):
        data.read_wav(path)
    whole = path.read_bytes()
    for size in (0, 20, 200):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a\.wav must be a PCM wav file"):
            data.read_wav(path)
    with pytest.raises(FileNotFoundError):
        data.read_wav(tmp_path / "b.wav")


MISTAKES = {
    "too short": (lambda: data.mel(torch.zeros(100), 8000), "at least one window of 200 samples"),
    "above half the rate": (lambda: data.mel(tone(1.0), 8000, highest=5000.0), "rate / 2 = 4000"),
    "too narrow": (lambda: data.mel(tone(1.0), 8000, bands=200), "contain no frequency"),
    "a batch to trim": (lambda: data.trim_silence(torch.ones(2, 800), 8000), "one by one"),
    "nothing to trim": (lambda: data.trim_silence(torch.ones(9), 8000), "one frame of 200 samples"),
    "above the loudest": (lambda: data.trim_silence(tone(1.0), 8000, below=-1.0), "write below=30"),
    "a shift too long": (lambda: data.shift_time(torch.ones(3, 2), 4), r"most must be in \[0, 3\]"),
    "a mask over the batch": (lambda: data.mask_spans(torch.ones(3, 2, 4), 1, axis=1), "axis must"),
    "no batch": (lambda: data.mask_spans(torch.ones(3), 1), r"x must be sequences \[T, B, ...\]"),
    "all speakers": (lambda: data.disjoint([1, 2], 2), r"num_test must be in \[1, 1\]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_rule(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()


def test_every_shift_occurs_and_moves_a_sample_as_a_whole() -> None:
    x = torch.arange(1.0, 9).view(8, 1, 1).expand(8, 400, 2).contiguous()
    shifted = data.shift_time(x, 3, generator=torch.Generator().manual_seed(0))
    seen = set()
    for sample in shifted.unbind(1):
        kept = sample[sample[:, 0] != 0]
        shift = int((sample[:, 0] != 0).nonzero()[0] + 1 - kept[0, 0])
        assert len(kept) == 8 - abs(shift) and bool((kept.diff(dim=0) == 1).all())
        seen.add(shift)
    assert seen == {-3, -2, -1, 0, 1, 2, 3}


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_a_mask_is_one_span_of_every_length_at_every_place(axis: int) -> None:
    x = torch.ones(6, 900, 6)
    masked = data.mask_spans(x, 3, axis=axis, generator=torch.Generator().manual_seed(0))
    places = masked[:, :, 0].t() if axis == 0 else masked[0]  # [B, size]
    assert torch.equal(masked, (places.t()[:, :, None] if axis == 0 else places).expand_as(x))
    spans = {tuple((row == 0).nonzero().flatten().tolist()) for row in places}
    expected = {tuple(range(s, s + n)) for n in (1, 2, 3) for s in range(6 - n + 1)}
    assert spans == expected | {()}


def test_equal_generators_draw_equal_augmentations() -> None:
    x = torch.rand(9, 4, 3)
    for change in (data.shift_time, data.mask_spans):
        a, b = (change(x, 4, generator=torch.Generator().manual_seed(5)) for _ in range(2))
        assert torch.equal(a, b)


class Augmented(Dataset):
    """Draws by a generator for each sample."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Tensor:
        source = torch.Generator().manual_seed(i)
        x = data.shift_time(torch.arange(9.0).view(9, 1), 4, generator=source)
        return data.add_noise(x, 1.0, generator=source)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_generator_for_each_sample_gives_the_same_data_on_any_number_of_workers(
    workers: int,
) -> None:
    alone, found = (
        torch.cat(list(DataLoader(Augmented(), 2, num_workers=number))) for number in (0, workers)
    )
    assert torch.equal(alone, found)
    assert len({tuple(x.flatten().tolist()) for x in alone}) == 8


def test_speakers_of_the_test_part_are_unknown_to_the_training_part() -> None:
    speakers = np.random.default_rng(0).integers(0, 30, 1200)
    parts = [data.disjoint(speakers, 6, number) for number in range(3)]
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(1200))
        known, unknown = set(speakers[train]), set(speakers[test])
        assert len(unknown) == 6 and not known & unknown
    assert len({tuple(test) for _, test in parts}) == 3


@pytest.mark.parametrize("name", ["mel", "gammatone", "cochlea"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sound_of_half_precision_was_refused_by_the_fourier_transform(
    name: str, dtype: torch.dtype
) -> None:
    with pytest.raises(TypeError, match=r"audio must be float32 or float64, got torch.*float\(\)"):
        getattr(data, name)(tone(700.0, seconds=0.1).to(dtype), 8000, bands=4)


def test_a_waveform_shorter_than_a_window_was_said_to_be_waves() -> None:
    with pytest.raises(ValueError, match="audio must have at least one frame of 200 samples"):
        data.trim_silence(torch.ones(10), 8000)
