"""Sound as the ear hears it: gammatone filters, a cochlea of spiking cells, and level crossings."""

import math

import pytest
import torch
from torch import Tensor

from spikeloom import data, spikegen
from spikeloom.data.gammatone import BANDWIDTH


def tone(frequency: float, rate: int = 8000, seconds: float = 0.2) -> Tensor:
    time = torch.arange(int(rate * seconds), dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * frequency * time)


# filters


def test_centres_are_evenly_spaced_on_the_scale_of_bandwidths() -> None:
    centers = data.gammatone_centers(20, 60.0, 8000.0)
    scale = torch.log10(1 + 0.00437 * torch.cat([torch.tensor([60.0]).double(), centers]))
    torch.testing.assert_close(scale.diff(), scale.diff()[:1].expand(20))
    ends = data.gammatone_centers(1, 60.0, 8000.0)
    assert 60 < float(ends) < 8000


def test_an_impulse_gives_the_impulse_response_and_nothing_before() -> None:
    rate, at = 16000, 30
    impulse = torch.zeros(4000, dtype=torch.float64)
    impulse[at] = 1
    found = data.gammatone(impulse, rate, bands=4)
    centers = data.gammatone_centers(4, 60.0, rate / 2).tolist()
    time = torch.arange(4000 - at, dtype=torch.float64) / rate
    for band, f in enumerate(centers):
        b = BANDWIDTH * 24.7 * (1 + 0.00437 * f)
        response = time**3 * torch.exp(-2 * math.pi * b * time) * torch.cos(2 * math.pi * f * time)
        gain = (response * torch.exp(-2j * math.pi * f * time)).sum().abs()
        torch.testing.assert_close(found[at:, band], response / gain, atol=1e-8, rtol=1e-6)
        assert float(found[:at, band].abs().max()) < 1e-12


@pytest.mark.parametrize("detune", [0.0, 0.5, -1.0, 2.0])
def test_the_gain_of_a_filter_falls_with_the_fourth_power(detune: float) -> None:
    center = float(data.gammatone_centers(1, 800.0, 1600.0))
    b = BANDWIDTH * 24.7 * (1 + 0.00437 * center)
    x = tone(center + detune * b, 16000, 0.5)
    settled = data.gammatone(x, 16000, bands=1, lowest=800.0, highest=1600.0)[4000:, 0]
    amplitude = math.sqrt(2) * float(settled.square().mean().sqrt())
    assert amplitude == pytest.approx((1 + detune**2) ** -2, rel=0.01)


def test_a_batch_of_waveforms_is_its_waveforms() -> None:
    waves = torch.stack([tone(300.0), tone(900.0)])
    together = data.gammatone(waves, 8000, bands=5)
    assert together.shape == (1600, 2, 5)
    for b in range(2):
        torch.testing.assert_close(together[:, b], data.gammatone(waves[b], 8000, bands=5))
    energy = data.frame_energy(together, 8000)
    assert energy.shape == (18, 2, 5)
    torch.testing.assert_close(energy[:, 1], data.frame_energy(together[:, 1], 8000))


def test_the_energy_of_a_frame_is_the_logarithm_of_its_mean_square() -> None:
    x = torch.arange(10.0).unsqueeze(1)
    found = data.frame_energy(x, 1000.0, window=0.004, hop=0.003, floor=0.5)
    expected = [math.log10(sum(i * i for i in range(s, s + 4)) / 4 + 0.5) for s in (0, 3, 6)]
    torch.testing.assert_close(found[:, 0], torch.tensor(expected))


# the cochlea


def spikes_of(audio: Tensor, rate: int, seed: int = 0, **options) -> Tensor:
    return data.cochlea(audio, rate, generator=torch.Generator().manual_seed(seed), **options)


def by_hand(audio: Tensor, rate: int, fibres: int, draws: torch.Generator) -> list[int]:
    """One band of the model in plain Python, spikes in steps of 1 ms."""
    motion = audio / audio.square().mean().sqrt() * 10 ** (30 / 20)
    motion = data.gammatone(motion, rate, bands=1)[:, 0].tolist()
    kt = 2000 * 5 / 305
    cleft = 5.05 * kt / (2500 * kt + 5.05 * (2500 + 6580))
    free, store = cleft * 9080 / kt, cleft * 6580 / 66.3
    left, silent = [0] * fibres, round(0.001 * rate)
    current = mem = 0.0
    refractory, counts = 0, [0] * math.ceil(len(motion) / rate * 1000)
    for n, m in enumerate(motion):
        opened = max(m + 5, 0)
        ejected = 2000 * opened / (opened + 300) * free
        made, back = 5.05 * max(1 - free, 0), 66.3 * store
        free, cleft, store = (
            max(free + (made - ejected + back) / rate, 0),
            max(cleft + (ejected - 9080 * cleft) / rate, 0),
            max(store + (6580 * cleft - back) / rate, 0),
        )
        drawn = torch.rand(fibres, 1, 1, generator=draws, dtype=torch.float64).flatten().tolist()
        fired = [
            u < 50000 / rate * cleft and wait <= 0 for u, wait in zip(drawn, left, strict=True)
        ]
        left = [silent - 1 if f else wait - 1 for f, wait in zip(fired, left, strict=True)]
        current = current * math.exp(-1 / (0.0005 * rate)) + sum(fired)
        mem = mem * math.exp(-1 / (0.001 * rate))
        if refractory == 0:
            mem += current * 13000 / fibres / rate
            if mem > 1:
                counts[int(n / rate * 1000)] += 1
                mem, refractory = 0.0, round(0.001 * rate)
        else:
            refractory -= 1
    return counts


def test_the_model_is_its_equations_in_plain_python() -> None:
    audio = tone(1500.0, 20000, 0.06)
    found = spikes_of(audio, 20000, bands=1, fibres=5)
    expected = by_hand(audio, 20000, 5, torch.Generator().manual_seed(0))
    assert sum(expected) > 3
    assert found[:, 0].tolist() == expected


def test_a_tone_drives_the_cell_of_its_band_most_and_a_louder_one_drives_more() -> None:
    centers = data.gammatone_centers(8, 60.0, 4000.0)
    for band in (2, 5):
        x = tone(float(centers[band]), seconds=0.1)
        rates = [spikes_of(x, 8000, bands=8, level=level).sum(0) for level in (30.0, 60.0)]
        assert int(rates[1].argmax()) == band
        assert float(rates[1].sum()) > float(rates[0].sum())


def test_only_the_level_decides_how_loud_a_waveform_is() -> None:
    x = tone(700.0, seconds=0.05)
    assert torch.equal(spikes_of(x, 8000, bands=6), spikes_of(4 * x, 8000, bands=6))


def test_silence_is_almost_silent() -> None:
    found = spikes_of(torch.zeros(1600), 8000, bands=6)
    assert found.shape == (200, 6) and float(found.sum()) <= 0.02 * found.numel()


def test_cells_of_a_low_band_lock_to_the_phase_of_the_tone() -> None:
    spikes = spikes_of(tone(200.0, seconds=0.4), 8000, bands=6, dt=0.00025)
    cell = spikes[:, int(spikes.sum(0).argmax())]
    phase = 2 * math.pi * (torch.arange(len(cell)) % 20) / 20  # 20 steps a period
    strength = float((cell * torch.exp(1j * phase)).sum().abs() / cell.sum())
    assert strength > 0.5


def test_equal_generators_give_equal_spikes_and_others_do_not() -> None:
    x = torch.stack([tone(700.0, seconds=0.05)] * 2)
    first, again, other = (spikes_of(x, 8000, seed, bands=6) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[:, 0], first[:, 1]), "waveforms of a batch draw separately"


MISTAKES = {
    "no waveform": (lambda: data.gammatone(torch.zeros(2, 3, 4), 8000), r"\[N\] or \[B, N\]"),
    "empty": (lambda: data.gammatone(torch.zeros(0), 8000), "not empty"),
    "not finite": (lambda: data.cochlea(torch.full((9,), float("nan")), 8000), "finite"),
    "above half the rate": (lambda: data.gammatone(tone(1.0), 8000, highest=5000.0), r"0, 4000\]"),
    "no band": (lambda: data.gammatone(tone(1.0), 8000, lowest=4000.0), "highest must be"),
    "too short": (lambda: data.frame_energy(torch.zeros(100, 2), 8000), "one frame of 200"),
    "no time": (lambda: spikegen.level_crossing(torch.zeros(3)), r"\[T, ..., F\]"),
    "threshold": (lambda: spikegen.level_crossing(torch.zeros(3, 1), 0.0), "threshold must be"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_rule(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()


# events of a signal


def signal(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(60, 3, 4, generator=generator, dtype=torch.float64).cumsum(0)


@pytest.mark.parametrize("threshold", [0.3, 1.0, 2.5])
def test_level_crossings_reconstruct_the_signal_to_within_the_threshold(threshold: float) -> None:
    x = signal()
    events = spikegen.level_crossing(x, threshold)
    up, down = events.split(4, -1)
    assert events.shape == (60, 3, 8) and bool((up * down == 0).all())
    rebuilt = x[0] + threshold * (up - down).cumsum(0)
    assert float((rebuilt - x).abs().max()) < threshold * (1 + 1e-12)


def test_single_events_follow_the_signal_without_losing_any() -> None:
    x = torch.zeros(30, 1)
    x[5:] = 10.0
    x[20:] = 7.0
    up, down = spikegen.level_crossing(x, 1.0, single=True).t()
    assert up[5:15].tolist() == [1.0] * 10 and up.sum() == 10
    assert down[20:23].tolist() == [1.0] * 3 and down.sum() == 3


def test_slow_changes_add_up_which_differences_of_neighbours_miss() -> None:
    ramp = torch.linspace(0, 1, 101).unsqueeze(1)
    assert not spikegen.delta(ramp, threshold=0.1).any()
    assert spikegen.level_crossing(ramp, 0.0999).sum(0).tolist() == [10, 0]


def test_the_sign_of_a_signal_exchanges_rises_and_falls() -> None:
    x = signal()
    up, down = spikegen.level_crossing(x, 0.7).split(4, -1)
    assert torch.equal(spikegen.level_crossing(-x, 0.7), torch.cat([down, up], -1))
