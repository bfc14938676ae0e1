"""Encoders beyond snnTorch: Poisson, phase, burst and population codes."""

import pytest
import torch

from spikeloom import decode, spikegen


def test_poisson_fires_at_its_rate_in_hertz():
    rates = torch.tensor([0.0, 5.0, 40.0, 200.0])
    spk = spikegen.poisson(rates, dt=1e-3, num_steps=100_000)
    assert decode.rates(spk.unsqueeze(1), dt=1e-3)[0] == pytest.approx([0, 5, 40, 200], rel=0.15)


def test_poisson_intervals_vary_as_much_as_their_mean():
    times = spikegen.poisson(torch.tensor([20.0]), dt=1e-3, num_steps=200_000).nonzero()[:, 0]
    intervals = times.diff().double()
    assert intervals.std() / intervals.mean() == pytest.approx(1, abs=0.05)


def test_poisson_follows_a_rate_that_changes_over_time():
    rates = torch.cat([torch.zeros(50, 3), torch.full((50, 3), 1000.0)])
    assert torch.equal(spikegen.poisson(rates, dt=1e-3), rates / 1000)


@pytest.mark.parametrize(
    ("rates", "dt", "text"),
    [
        (2000.0, 1e-3, r"rates must be in \[0, 1000\], got 2000; at most one spike per step"),
        (-1.0, 1e-3, r"rates must be in \[0, 1000\], got -1"),
        (5.0, 0.0, "dt must be positive"),
    ],
)
def test_poisson_refuses_rates_that_it_cannot_draw(rates: float, dt: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        spikegen.poisson(torch.tensor([rates]), dt=dt, num_steps=3)


@pytest.mark.parametrize("period", [1, 5, 8, 24])
def test_phase_weights_give_the_input_back_up_to_the_last_digit(period: int) -> None:
    data = torch.rand(7, 5, dtype=torch.float64)
    spk = spikegen.phase(data, num_steps=2 * period, period=period, weighted=True)
    assert torch.equal(spk[:period], spk[period:])
    value = spk[:period].sum(0)
    assert ((data - value) >= 0).all()
    assert ((data - value) < 2.0**-period).all()
    assert torch.equal(spk != 0, spikegen.phase(data, 2 * period, period) != 0)


def test_burst_has_more_spikes_and_shorter_intervals_for_larger_inputs():
    data = torch.linspace(0, 1, 11)
    spk = spikegen.burst(data, num_steps=40, max_spikes=5, min_interval=2)
    assert spk.sum(0).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    strong, weak = (spk[:, i].nonzero().squeeze(1).diff() for i in (10, 3))
    assert strong.tolist() == [2, 2, 2, 2]
    assert weak.tolist() == [
        7
    ]  # ceil(2 + (9 - 2) * 0.7), the longest interval being (40 - 1) // 4 = 9


def test_burst_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="write num_steps=9 or more"):
        spikegen.burst(torch.ones(1), num_steps=8, max_spikes=5, min_interval=2)
    with pytest.raises(ValueError, match="must end before num_steps=20, got one ending at step 20"):
        spikegen.burst(
            torch.tensor([0.5]), num_steps=20, max_spikes=4, min_interval=2, max_interval=38
        )


def test_population_centers_lie_half_a_spacing_outside_the_range():
    centers = spikegen.population_centers(8, low=-1.0, high=2.0)
    spacing = 3 / 6
    assert centers.tolist() == pytest.approx([-1 - spacing / 2 + i * spacing for i in range(8)])


def test_receptive_fields_have_the_width_of_gamma():
    fields = spikegen.receptive_fields(torch.tensor([0.25]), 6, gamma=2.0)
    sigma = 1 / (2.0 * 4)
    centers = spikegen.population_centers(6)
    assert torch.allclose(fields[0], torch.exp(-((0.25 - centers) ** 2) / (2 * sigma**2)))


def test_population_latency_reproduces_the_ten_steps_of_bohte():
    data = torch.rand(20, 3)
    response = spikegen.receptive_fields(data, 12)
    spk = spikegen.population(data, 12, num_steps=11)
    assert spk.shape == (11, 20, 3, 12)
    fires = spk.sum(0)
    assert torch.equal(fires, (response >= 0.1).float())
    assert torch.equal(spk.argmax(0)[fires > 0], ((1 - response) * 10).round().long()[fires > 0])


def test_population_rate_decodes_to_the_value_it_encodes():
    data = torch.rand(50, 2) * 8 - 3
    spk = spikegen.population(data, 10, 2000, low=-3.0, high=5.0, code="rate")
    value = decode.weighted_mean(spk, spikegen.population_centers(10, low=-3.0, high=5.0))
    assert (value - data).abs().max() < 0.25


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_neurons": 2}, "num_neurons must be at least 3, got 2"),
        ({"high": 0.0}, "high must be above low=0.0, got 0.0"),
        ({"high": 0.2}, r"data must be in \[0, 0.2\], got 0.5; write low= and high="),
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"num_steps": 0}, "population needs num_steps > 0"),
        ({"code": "phase"}, "code must be one of"),
    ],
)
def test_population_says_what_is_wrong(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        spikegen.population(
            **{"data": torch.tensor([0.5]), "num_neurons": 5, "num_steps": 10} | arguments
        )


def test_codes_beyond_snntorch_want_intensities_and_steps():
    for encode in (spikegen.phase, spikegen.burst):
        with pytest.raises(ValueError, match=r"data must be in \[0, 1\], got 2"):
            encode(torch.tensor([2.0]), 30)
        with pytest.raises(ValueError, match="needs num_steps > 0"):
            encode(torch.tensor([0.2]), 0)
