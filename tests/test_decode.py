"""Decoders: first spikes, rates, and population votes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeloom import decode, spikegen


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(0, 1000))
def test_first_spike_is_what_a_loop_over_neurons_finds(
    steps: int, batch: int, neurons: int, seed: int
) -> None:
    spk = (
        torch.rand(steps, batch, neurons, generator=torch.Generator().manual_seed(seed)) > 0.7
    ).float()
    found = decode.first_spike(spk)
    for b in range(batch):
        for n in range(neurons):
            train = spk[:, b, n].tolist()
            assert found[b, n] == (train.index(1.0) if 1.0 in train else steps)


def test_first_spike_inverts_latency_coding():
    data = torch.rand(4, 5)
    time = spikegen.latency_code_log(data, tau=5, threshold=0.01).round()
    assert torch.equal(decode.first_spike(spikegen.latency(data, 100, tau=5)), time)


def test_first_spike_reports_silence_as_told_and_keeps_the_dtype():
    spk = torch.zeros(3, 1, 1, dtype=torch.float64)
    assert decode.first_spike(spk).tolist() == [[3]]
    assert decode.first_spike(spk, never=torch.inf).tolist() == [[torch.inf]]
    assert decode.first_spike(spk).dtype == torch.float64
    assert decode.first_spike(spk.bool()).dtype == torch.int64


def test_rates_are_spikes_per_step_or_hertz_and_carry_a_gradient():
    spk = torch.ones(5, 2, 3, requires_grad=True)
    assert decode.rates(spk).tolist() == [[1.0] * 3] * 2
    torch.testing.assert_close(decode.rates(spk, dt=2e-3), torch.full((2, 3), 500.0))
    decode.rates(spk).sum().backward()
    torch.testing.assert_close(spk.grad, torch.full((5, 2, 3), 0.2))


def test_rates_of_half_precision_do_not_saturate():
    assert decode.rates(torch.ones(5000, 1, 1, dtype=torch.float16)) == 1


def test_population_vote_counts_contiguous_groups_and_prefers_the_lower_class_in_a_tie():
    spk = torch.zeros(4, 2, 6)
    spk[:2, 0, 5], spk[0, 0, 2] = 1, 1
    spk[0, 1, 1], spk[3, 1, 4] = 1, 1
    assert decode.population_counts(spk, 3).tolist() == [[0, 1, 2], [1, 0, 1]]
    assert decode.population_vote(spk, 3).tolist() == [2, 0]


def test_a_population_without_neurons_is_no_silent_population():
    with pytest.raises(ValueError, match="a population of one neuron or more, got spikes"):
        decode.weighted_mean(torch.zeros(3, 0), torch.zeros(0))


def test_weighted_mean_is_undefined_for_a_silent_population():
    value = decode.weighted_mean(torch.zeros(2, 1, 3), torch.arange(3.0))
    assert value.isnan().all()


@pytest.mark.parametrize(
    "decoder", [decode.first_spike, decode.rates, lambda spk: decode.population_vote(spk, 1)]
)
def test_decoders_say_what_is_wrong(decoder) -> None:
    with pytest.raises(TypeError, match=r"got list; write torch.stack\(spk_rec\)"):
        decoder([torch.zeros(1)])
    with pytest.raises(
        ValueError, match=r"with T > 0, got \(5,\); a single sample needs a batch axis"
    ):
        decoder(torch.zeros(5))


def test_decoders_say_what_is_wrong_with_their_arguments():
    spk = torch.zeros(2, 1, 4)
    with pytest.raises(ValueError, match="dt must be positive, got 0"):
        decode.rates(spk, dt=0)
    with pytest.raises(ValueError, match="multiple of num_classes=3, got 4"):
        decode.population_counts(spk, 3)
    with pytest.raises(ValueError, match=r"each of the 4 neurons, got shape \(3,\)"):
        decode.weighted_mean(spk, torch.zeros(3))
