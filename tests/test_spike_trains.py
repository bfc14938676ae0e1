"""Similarity of spike trains: closed forms, chance, and spikes that have one partner each."""

import itertools
import math

import pytest
import torch
from torch import Tensor

import spikeloom as snn
from spikeloom import functional as SF


def gamma(predicted, recorded, window=2.0, duration=100.0):
    return SF.coincidence_factor(predicted, recorded, window=window, duration=duration)


def test_gamma_is_1_for_equal_trains_in_any_order() -> None:
    times = torch.tensor([90.0, 3.0, 50.0, 20.0])
    assert gamma(times, times.sort().values) == pytest.approx(1)


def test_gamma_follows_its_formula() -> None:
    found = gamma([11.0, 33.0, 69.0], torch.tensor([10.0, 30.0, 70.0, 90.0]))
    chance = 2 * 3 / 100 * 2
    assert found == pytest.approx((2 - chance * 4) / 3.5 / (1 - chance))


def test_gamma_of_poisson_trains_is_0_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        a, b = (torch.rand(60, generator=generator, dtype=torch.float64) * 3000 for _ in range(2))
        found.append(gamma(a, b, window=2.0, duration=3000.0))
    mean, error = torch.tensor(found).mean(), torch.tensor(found).std() / math.sqrt(400)
    assert abs(mean) < 4 * error + 0.01  # pairs exclude each other, which costs 0.3 % here


def test_each_spike_has_one_partner_and_pairs_are_as_many_as_possible() -> None:
    assert gamma([10.0, 10.5, 11.0], [10.2]) == pytest.approx((1 - 0.12) / 2 / 0.88)
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        a, b = (torch.rand(4, generator=generator).mul(12).sort().values for _ in range(2))
        best = max(
            sum(abs(x - y) <= 1.5 for x, y in zip(a.tolist(), order, strict=True))
            for order in itertools.permutations(b.tolist())
        )
        chance = 2 * 1.5 * 4 / 100
        expected = (best - chance * 4) / 4 / (1 - chance)
        assert gamma(a, b, window=1.5) == pytest.approx(expected)


def test_a_coincidence_at_the_end_of_the_window_counts() -> None:
    assert gamma([10.0], [12.0]) == pytest.approx(1) and gamma([10.0], [12.01]) < 0


def test_silence_is_nan_if_both_are_silent_and_0_if_one_is() -> None:
    assert math.isnan(gamma([], []))
    assert gamma([], [1.0]) == 0 and gamma([1.0], torch.empty(0)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0] * 30, [1.0], 2.0, 100.0), r"cover less than the duration, got 2 \* 2 \* 30 of 100"),
        (([1.0], [float("nan")], 2.0, 100.0), "recorded must hold finite times"),
        (([1.0], [1.0], -1.0, 100.0), "window must be 0 or more"),
        (([1.0], [1.0], 1.0, 0.0), "duration must be positive"),
    ],
)
def test_a_mistake_with_coincidences_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        gamma(*arguments)


def closed_form(a: Tensor, b: Tensor, tau: float) -> float:
    """The integral of van Rossum for times ``a`` and ``b`` in continuous time."""

    def overlap(x: Tensor, y: Tensor) -> float:
        return float(torch.exp(-(x[:, None] - y[None]).abs() / tau).sum())

    return (overlap(a, a) + overlap(b, b) - 2 * overlap(a, b)) / 2


def test_the_distance_of_van_rossum_is_its_integral_whatever_follows() -> None:
    generator = torch.Generator().manual_seed(0)
    trains = (torch.rand(2, 30, 5, generator=generator) < 0.2).double()
    for extra in (0, 50):
        spk, target = (torch.cat([train, torch.zeros(extra, 5).double()]) for train in trains)
        for tau in (0.5, 3.0, 100.0):
            found = SF.van_rossum_distance(spk, target, tau)
            for b in range(5):
                times = [t[:, b].nonzero().flatten().double() for t in trains]
                assert float(found[b]) == pytest.approx(closed_form(*times, tau), abs=1e-9)


def test_the_distance_is_differentiable_through_a_neuron() -> None:
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    x = torch.ones(20, 1, 1, dtype=torch.float64)
    target = torch.zeros(20, 1, 1, dtype=torch.float64)
    target[[3, 8, 13]] = 1
    spk, _ = snn.Leaky(0.9).double().scan(weight * x)
    SF.van_rossum_distance(spk, target, 4.0).sum().backward()
    assert weight.grad is not None and weight.grad.isfinite() and weight.grad != 0


def test_trains_of_other_shapes_or_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape \[T, B, ...\]"):
        SF.van_rossum_distance(torch.zeros(3, 1), torch.zeros(3, 2), 1.0)
    with pytest.raises(TypeError, match=r"floating point, got torch.int64"):
        SF.van_rossum_distance(torch.zeros(3, 1).long(), torch.zeros(3, 1), 1.0)
    with pytest.raises(ValueError, match="tau must be positive"):
        SF.van_rossum_distance(torch.zeros(3, 1), torch.zeros(3, 1), 0.0)
