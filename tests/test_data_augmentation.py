"""Laws of the augmentations of sequences and events: one draw for each sample, seeds, ranges."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from event_files import some_events
from torch import Tensor

from spikeloom import data

SIZE = (5, 4, 2)  # of the sensor of `some_events`


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SEQUENCES = {
    "shift_time": lambda x, g: data.shift_time(x, 4, generator=g),
    "stretch_time": lambda x, g: data.stretch_time(x, 1.5, generator=g),
    "crop_time": lambda x, g: data.crop_time(x, 7, generator=g),
    "scale_gain": lambda x, g: data.scale_gain(x, 12.0, generator=g),
    "add_noise": lambda x, g: data.add_noise(x, 0.5, generator=g),
    "mask_spans": lambda x, g: data.mask_spans(x, 4, generator=g),
    "mask_spans of features": lambda x, g: data.mask_spans(x, 3, axis=2, generator=g),
    "warp_mel": lambda x, g: data.warp_mel(x, 1.5, generator=g),
    "equalize_bands": lambda x, g: data.equalize_bands(x, 2.0, generator=g),
    "mix": lambda x, g: data.mix(x, torch.eye(x.shape[1]), generator=g)[0],
}
FRAMES = {
    "drop_events": lambda x, g: data.drop_events(x, 0.9, generator=g),
    "drop_time": lambda x, g: data.drop_time(x, 0.9, generator=g),
    "drop_area": lambda x, g: data.drop_area(x, 0.9, generator=g),
    "event_drop": lambda x, g: data.event_drop(x, generator=g),
    "flip_polarity": lambda x, g: data.flip_polarity(x, generator=g),
    "flip_events": lambda x, g: data.flip_events(x, generator=g),
    "shift_events": lambda x, g: data.shift_events(x, 2, generator=g),
}
LISTS = {
    "drop_events": lambda e, g: data.drop_events(e, 0.9, generator=g),
    "drop_time": lambda e, g: data.drop_time(e, 0.9, generator=g),
    "drop_area": lambda e, g: data.drop_area(e, 0.9, sensor_size=SIZE, generator=g),
    "event_drop": lambda e, g: data.event_drop(e, sensor_size=SIZE, generator=g),
    "flip_polarity": lambda e, g: data.flip_polarity(e, generator=g),
    "flip_events": lambda e, g: data.flip_events(e, sensor_size=SIZE, generator=g),
    "shift_events": lambda e, g: data.shift_events(e, 2, sensor_size=SIZE, generator=g),
}
TENSORS = [(name, change, "sequence") for name, change in SEQUENCES.items()]
TENSORS += [(name, change, "frames") for name, change in FRAMES.items()]


def made(kind: str, batch: int = 40, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same distinct recording ``batch`` times, so that only draws make samples differ."""
    shape = (9, 1, 6) if kind == "sequence" else (9, 1, 2, 4, 5)
    one = torch.randint(1, 9, shape, generator=seeded()).to(dtype)
    return one.expand(9, batch, *shape[2:]).contiguous()


@pytest.mark.parametrize(("name", "change", "kind"), TENSORS)
def test_samples_of_a_batch_draw_separately_and_a_seed_repeats_them(name, change, kind) -> None:
    x = made(kind)
    if name == "mix":  # which changes nothing between equal samples
        x = x * torch.arange(1.0, 41).view(1, -1, 1)
    before = x.clone()
    first, again, other = change(x, seeded(1)), change(x, seeded(1)), change(x, seeded(2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(x, before), "the argument is unchanged"
    assert first.dtype == x.dtype and first.shape[1:] == x.shape[1:]
    assert len(first) == (7 if name == "crop_time" else 9)
    assert len(torch.unique(first, dim=1)[0]) > 1


@pytest.mark.parametrize(("name", "change", "kind"), TENSORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_is_that_of_the_sequences(name, change, kind, dtype) -> None:
    assert change(made(kind, dtype=dtype), seeded()).dtype == dtype


@pytest.mark.parametrize("name", [*FRAMES, "shift_time", "crop_time", "mask_spans"])
def test_whole_numbers_remain_whole_numbers(name) -> None:
    kind = "frames" if name in FRAMES else "sequence"
    change = (FRAMES | SEQUENCES)[name]
    assert change(made(kind, dtype=torch.int16), seeded()).dtype == torch.int16


def test_a_stretch_plays_a_ramp_at_another_slope() -> None:
    x = torch.arange(20.0, dtype=torch.float64).view(20, 1).expand(20, 500)
    found = data.stretch_time(x, 2.0, fill=-1.0, generator=seeded())
    factor = 1 / found[1]
    assert float(factor.min()) > 0.5 and float(factor.max()) < 2
    assert float(factor.log().mean().abs()) < 4 * math.log(2) / math.sqrt(3 * 500)
    for sample, slope in zip(found.t(), found[1], strict=True):
        expected = torch.arange(20.0, dtype=torch.float64) * slope
        expected[expected > 19] = -1
        torch.testing.assert_close(sample, expected)


def test_a_warp_of_mel_bands_raises_all_peaks_by_one_factor() -> None:
    rate, tones = 8000, (300.0, 700.0, 1500.0)
    seconds = torch.arange(1600, dtype=torch.float64) / rate

    def energies(factor: float) -> Tensor:
        waves = [torch.sin(2 * torch.pi * factor * f * seconds) for f in tones]
        return data.mel(torch.stack(waves), rate, bands=40)

    def peaks(spectra: Tensor) -> Tensor:
        """Mean band of the energy above -20 dB, of each waveform."""
        weight = (spectra.mean(0) - spectra.mean(0).amax(1, keepdim=True) + 2).clamp(min=0)
        return (weight * torch.arange(40)).sum(1) / weight.sum(1)

    played = energies(1.0).repeat_interleave(50, 1)
    found = peaks(data.warp_mel(played, 1.3, generator=seeded())).view(3, 50)
    assert float(found.min(1).values.sub(peaks(energies(1 / 1.3))).abs().max()) < 0.6
    assert float(found.max(1).values.sub(peaks(energies(1.3))).abs().max()) < 0.6
    middle = found.median(1).values
    assert float(middle.sub(peaks(energies(1.0))).abs().max()) < 0.8, "neither higher nor lower"


def test_a_warp_repeats_the_outer_bands_where_the_spectrum_ends() -> None:
    x = torch.arange(10.0).view(1, 1, 10).expand(1, 300, 10)
    found = data.warp_mel(x, 1.5, generator=seeded())[0]
    assert float(found.min()) == 0 and float(found.max()) == 9
    assert bool((found.diff(dim=1) >= 0).all())


def test_an_equalizer_adds_one_smooth_curve_to_all_steps_of_a_sample() -> None:
    x = torch.rand(5, 400, 16, 2, dtype=torch.float64)
    added = data.equalize_bands(x, 0.6, curves=3, generator=seeded()) - x
    curve = added[0, :, :, 0]
    torch.testing.assert_close(added, curve[None, :, :, None].expand_as(added))
    place = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    cosines = torch.stack([torch.cos(torch.pi * k * place) for k in range(16)])
    weights = curve @ cosines.t() / 8  # the cosines are orthogonal, of square 8 but for the first
    assert float(weights[:, 0].abs().max()) < 1e-6 and float(weights[:, 4:].abs().max()) < 1e-6
    for k in (1, 2, 3):
        amplitude = weights[:, k] * k**0.5
        assert 0.57 < float(amplitude.max()) <= 0.6 and -0.6 <= float(amplitude.min()) < -0.57
        assert float(amplitude.mean().abs()) < 0.07


@pytest.mark.parametrize("name", ["warp_mel", "equalize_bands"])
def test_bands_are_the_axis_after_the_batch_and_are_required(name) -> None:
    change = SEQUENCES[name]
    x = torch.rand(4, 3, 8)
    apart = torch.stack([x, 2 * x], 3)
    found = change(apart, seeded())
    torch.testing.assert_close(found[..., 0], change(x, seeded()))
    with pytest.raises(ValueError, match=r"x must be energies \[T, B, bands, ...\], got \(4, 3\)"):
        change(x[..., 0], seeded())
    with pytest.raises(TypeError, match="x must"):
        change(x.long(), seeded())


def test_a_factor_of_1_and_strengths_of_0_change_nothing() -> None:
    x = made("sequence")
    assert torch.equal(data.stretch_time(x, 1.0), x)
    assert torch.equal(data.warp_mel(x, 1.0), x)
    assert torch.equal(data.equalize_bands(x, 0.0), x)
    assert torch.equal(data.crop_time(x, 9), x)
    assert torch.equal(data.scale_gain(x, 0.0), x)
    assert torch.equal(data.add_noise(x, 0.0), x)
    assert torch.equal(data.mix(x, torch.eye(40), 0.0)[0], x)
    frames = made("frames")
    for change in (data.drop_events, data.drop_time, data.drop_area, data.shift_events):
        assert torch.equal(change(frames, 0), frames)
    for change in (data.flip_events, data.flip_polarity):
        assert torch.equal(change(frames, 0.0), frames)


def test_every_window_of_a_crop_occurs() -> None:
    x = torch.arange(9).view(9, 1).expand(9, 300)
    found = data.crop_time(x, 5, generator=seeded())
    assert torch.equal(found.diff(dim=0), torch.ones(4, 300, dtype=torch.int64))
    assert set(found[0].tolist()) == {0, 1, 2, 3, 4}


def test_gains_are_between_their_bounds_in_decibel() -> None:
    gains = 20 * data.scale_gain(torch.ones(2, 1000), 6.0, generator=seeded()).log10()
    assert torch.equal(gains[0], gains[1])
    assert float(gains.abs().max()) < 6 and float(gains.min()) < -5.9 < 5.9 < float(gains.max())


def test_noise_has_a_deviation_of_its_own_in_every_sample() -> None:
    noise = data.add_noise(torch.zeros(4000, 50, dtype=torch.float64), 2.0, generator=seeded())
    deviation = noise.std(0)
    assert float(deviation.max()) < 2.1 and float(deviation.min()) < 0.2
    assert float(deviation.mean()) == pytest.approx(1, abs=0.35)
    assert float((noise.mean(0) / deviation).abs().max()) < 5 / math.sqrt(4000)


def test_a_mixture_has_the_shares_of_its_targets() -> None:
    x = torch.eye(30, dtype=torch.float64).expand(9, 30, 30)  # sample b is 1 in feature b
    targets = torch.eye(30, dtype=torch.float64)
    mixed, mixed_targets = data.mix(x, targets, generator=seeded())
    torch.testing.assert_close(mixed, mixed_targets.expand(9, 30, 30))
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(30).double())
    share = 1 - mixed_targets.diagonal()
    assert float(share.min()) < 0.2 and float(share.max()) > 0.8
    small = data.mix(x, targets, 0.2, generator=seeded())[1].diagonal()
    assert bool((small > 0.8).all())


# events


@pytest.mark.parametrize("name", LISTS)
def test_a_seed_repeats_the_change_of_a_list(name) -> None:
    events = some_events()
    before = events.copy()
    results = [LISTS[name](events, seeded(seed)) for seed in range(12)]
    assert np.array_equal(events, before), "the argument is unchanged"
    assert all(np.array_equal(LISTS[name](events, seeded(s)), results[s]) for s in range(12))
    assert all(found.dtype == events.dtype and found.base is not events for found in results)
    assert len({found.tobytes() for found in results}) > 1
    assert len(LISTS[name](events[:0], seeded())) == 0


def frames_of(events: np.ndarray) -> Tensor:
    return data.to_frames(events, SIZE, dt=100, num_steps=10, start=0).unsqueeze(1)


@pytest.mark.parametrize("name", ["flip_polarity", "flip_events", "shift_events", "drop_area"])
def test_a_list_and_its_frames_are_changed_alike(name) -> None:
    events = some_events()
    for seed in range(8):
        listed = frames_of(LISTS[name](events, seeded(seed)))
        framed = FRAMES[name](frames_of(events), seeded(seed))
        assert torch.equal(listed, framed)


def test_single_events_are_removed_with_one_probability_in_each_recording() -> None:
    frames = torch.full((10, 200, 1, 20, 20), 5.0)
    rest = data.drop_events(frames, 1.0, generator=seeded())
    share = rest.mean((0, 2, 3, 4)) / 5
    assert bool((rest <= frames).all()) and bool((rest == rest.round()).all())
    assert float(share.min()) < 0.05 and float(share.max()) > 0.95
    assert float(share.mean()) == pytest.approx(0.5, abs=0.1)
    halves = rest[:5].mean((0, 2, 3, 4)) / 5, rest[5:].mean((0, 2, 3, 4)) / 5
    assert float((halves[0] - halves[1]).abs().max()) < 5 * math.sqrt(0.5 / 10000)


def test_a_span_of_time_is_removed_from_a_list() -> None:
    events = some_events(5000)
    lost = []
    for seed in range(60):
        rest = data.drop_time(events, 0.5, generator=seeded(seed))
        gone = np.setdiff1d(np.unique(events["t"]), np.unique(rest["t"]))
        lost.append(len(gone) / 1000)
        assert not len(gone) or np.ptp(gone) <= 1.05 * len(gone), "one span"
    assert max(lost) <= 0.5 and max(lost) > 0.4 and min(lost) < 0.1


def test_a_rectangle_of_bounded_sides_is_removed() -> None:
    rest = data.drop_area(torch.ones(2, 400, 2, 10, 20), 0.3, generator=seeded())
    gone = rest[0, :, 0] == 0  # [B, H, W]
    assert torch.equal(rest, rest[:1, :, :1].expand_as(rest))
    rows, columns = gone.any(2), gone.any(1)
    assert torch.equal(gone, rows.unsqueeze(2) & columns.unsqueeze(1))
    assert set(rows.sum(1).tolist()) == {0, 1, 2, 3}
    assert set(columns.sum(1).tolist()) == {0, 1, 2, 3, 4, 5, 6}
    assert bool(rows.any(0).all()) and bool(columns.any(0).all()), "every place occurs"


def test_event_drop_applies_each_of_its_four_changes() -> None:
    x = torch.ones(10, 2000, 1, 8, 8)
    rest = data.event_drop(x, generator=seeded())[:, :, 0]
    unchanged = rest.mean((0, 2, 3)) == 1
    of_time = (rest.amax((2, 3)) == rest.amin((2, 3))).all(0) & ~unchanged
    of_area = (rest.amax(0) == rest.amin(0)).all(2).all(1) & ~unchanged & ~of_time
    random = ~unchanged & ~of_time & ~of_area
    for chosen in (of_time, random):
        assert int(chosen.sum()) == pytest.approx(500, abs=90)
    assert int(unchanged.sum()) + int(of_area.sum()) == pytest.approx(1000, abs=120)


def test_polarities_and_sides_are_exchanged_with_the_probability() -> None:
    frames = torch.arange(2.0 * 3 * 4).view(1, 1, 2, 3, 4).expand(5, 1000, 2, 3, 4)
    for change, axis in ((data.flip_polarity, 2), (data.flip_events, 4)):
        found = change(frames, 0.3, generator=seeded())
        same = (found == frames).flatten(2).all(2).all(0)
        other = (found == frames.flip(axis)).flatten(2).all(2).all(0)
        assert bool((same ^ other).all()) and int(other.sum()) == pytest.approx(300, abs=60)
    events = some_events()
    flipped = data.flip_polarity(events, 1.0)
    assert np.array_equal(flipped["p"], 1 - events["p"])
    assert np.array_equal(data.flip_polarity(flipped, 1.0), events)
    mirrored = data.flip_events(events, 1.0, sensor_size=SIZE)
    assert np.array_equal(mirrored["x"], 4 - events["x"])


def test_every_shift_of_both_axes_occurs_and_what_leaves_is_lost() -> None:
    x = torch.zeros(2, 900, 1, 5, 5)
    x[:, :, :, 1, 2] = 3.0
    found = data.shift_events(x, 2, generator=seeded())
    places = {tuple(p) for p in found[0, :, 0].nonzero()[:, 1:].tolist()}
    assert places == {(r, c) for r in range(4) for c in range(5)}
    lost = int((found.sum((0, 2, 3, 4)) == 0).sum())  # a row of -1
    assert lost == pytest.approx(180, abs=60)
    assert set(found.unique().tolist()) == {0.0, 3.0}


MISTAKES = {
    "a factor below 1": (lambda: data.stretch_time(torch.ones(3, 1), 0.5), ValueError, "most must"),
    "a warp below 1": (lambda: data.warp_mel(torch.ones(3, 1, 2), 0.9), ValueError, "most must"),
    "bands upside down": (
        lambda: data.warp_mel(torch.ones(3, 1, 2), 1.2, lowest=500.0, highest=100.0),
        ValueError,
        "highest must",
    ),
    "no curves": (
        lambda: data.equalize_bands(torch.ones(3, 1, 2), 1.0, curves=0),
        ValueError,
        "curves must",
    ),
    "whole numbers": (lambda: data.add_noise(torch.ones(3, 1).long(), 1.0), TypeError, "floating"),
    "a crop too long": (lambda: data.crop_time(torch.ones(3, 1), 4), ValueError, r"\[1, 3\]"),
    "no batch": (lambda: data.scale_gain(torch.ones(3), 1.0), ValueError, r"\[T, B, ...\]"),
    "labels": (lambda: data.mix(torch.ones(3, 2), torch.ones(2)), ValueError, "probabilities"),
    "no sensor": (lambda: data.drop_area(some_events(), 0.3), TypeError, "size of its sensor"),
    "a small sensor": (
        lambda: data.flip_events(some_events(), 1.0, sensor_size=(3, 4, 2)),
        ValueError,
        r"x must be in \[0, 2\]",
    ),
    "one recording": (lambda: data.drop_time(torch.ones(3, 2, 4, 4), 0.1), ValueError, "a batch"),
    "an array": (lambda: data.drop_time(np.ones(3), 0.1), TypeError, "structured array"),
    "a share": (lambda: data.drop_events(some_events(), 1.5), ValueError, r"\[0, 1\]"),
    "negative counts": (
        lambda: data.drop_events(-torch.ones(1, 1, 1, 1, 1), 0.5),
        ValueError,
        "negative",
    ),
    "three polarities": (
        lambda: data.flip_polarity(torch.ones(1, 1, 3, 1, 1)),
        ValueError,
        "two polarities",
    ),
    "a seed": (lambda: data.shift_time(torch.ones(3, 1), 1, generator=3), TypeError, "generator"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_rule(mistake: str) -> None:
    call, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("call", [data.warp_mel, data.equalize_bands])
def test_energies_without_bands_ended_in_a_division_by_zero(call: Any) -> None:
    with pytest.raises(ValueError, match=r"got \(4, 2, 0\); there must be bands, as in data\.mel"):
        call(torch.rand(4, 2, 0), 1.5)
