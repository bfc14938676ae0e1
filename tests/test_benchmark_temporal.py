"""What `benchmarks/temporal.py` measures, on recordings whose answer is known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import imported

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def temporal() -> Iterator[Any]:
    with imported(BENCHMARKS / "temporal.py") as module:
        yield module


def recordings(temporal: Any) -> Any:
    """Class 1 is class 0 backwards; the fourth step is padding."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.randn(60, 4, 1, generator=generator) * 0.1
    x[y == 0, 0] += 1
    x[y == 1, 2] += 1
    return temporal.Recordings(x, y, torch.full((60,), 3))


def test_regression_on_the_mean_over_time_knows_the_order_of_steps(temporal: Any) -> None:
    known = recordings(temporal)
    without_time = temporal.accuracy(temporal.ridge(known, known, 1, 0.1), known.y)
    with_time = temporal.accuracy(temporal.ridge(known, known, 3, 0.1), known.y)
    assert without_time < 80 < with_time == 100


@pytest.mark.parametrize("samples", [8, 3])  # more than features, and fewer
def test_regression_of_few_samples_solves_another_problem(temporal: Any, samples: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, 5, generator=generator, dtype=torch.float64) * 3 + 2
    y = torch.arange(samples) % 3
    weight, bias = temporal.regression(x, y, 0.7)
    standard = (x - x.mean(0)) / x.std(0)
    targets = torch.nn.functional.one_hot(y).double()
    rows = torch.cat([standard, 0.7**0.5 * torch.eye(5)])
    goal = torch.cat([targets - targets.mean(0), torch.zeros(5, 3)])
    expected = standard @ torch.linalg.lstsq(rows, goal).solution + targets.mean(0)
    torch.testing.assert_close(x @ weight.T + bias, expected)


def test_a_solved_readout_differs_from_regression_on_what_it_receives(temporal: Any) -> None:
    known = recordings(temporal)
    torch.manual_seed(0)
    net = temporal.of_features(1, 16, 3, 2)
    temporal.solve_readout(net, known, 0.1, None)
    x = known.x.transpose(0, 1)
    scores, (spk,) = net(x, known.lengths)
    means = net.means(spk, known.lengths).double()
    weight, bias = temporal.regression(means, known.y, 0.1 * means.shape[1])
    torch.testing.assert_close(scores, (means @ weight.T + bias).float())
    assert temporal.accuracy(scores, known.y) == 100


def test_steps_in_random_order_leave_their_recording_or_mix_with_padding(temporal: Any) -> None:
    x = torch.arange(1.0, 13).view(4, 3, 1)
    lengths = torch.tensor([4, 2, 3])
    x = x * (torch.arange(4).view(4, 1, 1) < lengths.view(1, 3, 1))
    mixed = temporal.shuffled(x, lengths, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed.sort(0).values, x.sort(0).values)
    assert not torch.equal(mixed, x)
    assert all((mixed[end:, i] == 0).all() for i, end in enumerate(lengths.tolist()))


def test_sensitivity_is_read_at_another_threshold_than_that_of_95_percent_of_the_rest(
    temporal: Any,
) -> None:
    y = torch.tensor([0] * 100 + [1] * 4)
    margin = torch.cat([torch.arange(100.0), torch.tensor([10.0, 94.0, 95.0, 200.0])])
    scores = torch.stack([torch.zeros(104), margin], 1)
    assert temporal.sensitivity(scores, y) == 50


def test_a_layer_with_delays_reads_later_steps_or_loses_early_ones(temporal: Any) -> None:
    layer = temporal.Layer(2, 3, (3, 1)).eval()
    x = torch.rand(6, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    later = x.clone()
    later[4:] += 1
    currents = layer.currents(x)
    torch.testing.assert_close(layer.currents(later)[:4], currents[:4])
    weight = layer.synapses.weight[..., 0]  # [outputs, inputs, 3], the last one without delay
    by_hand = sum(x[3 - lag, 0, 0] @ weight[..., 2 - lag].T for lag in range(3))
    torch.testing.assert_close(currents[3, 0, 0], by_hand, rtol=1e-4, atol=1e-5)


def test_the_mean_of_an_interval_takes_steps_of_another_one_or_padding(temporal: Any) -> None:
    x = torch.arange(1.0, 13).view(6, 2, 1)  # 1, 3, 5 ... and 2, 4, 6 ...
    found = temporal.interval_means(x, torch.tensor([6, 3]), 2).squeeze(2)  # half a step each
    torch.testing.assert_close(
        found, torch.tensor([[3.0, 9.0], [(2 + 4 / 2) / 1.5, (4 / 2 + 6) / 1.5]])
    )


def test_the_scores_of_a_padded_recording_differ_from_those_of_the_recording_alone(
    temporal: Any,
) -> None:
    net = temporal.TASKS["vowels"].network().eval()
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([9, 4, 7])
    x = torch.randn(9, 3, 12, generator=generator)
    scores, (spk,) = net(x, lengths)
    for i, end in enumerate(lengths.tolist()):
        alone, (spk_alone,) = net(x[:end, i : i + 1], lengths[i : i + 1])
        torch.testing.assert_close(scores[i], alone[0])
        assert torch.equal(spk[:end, i], spk_alone[:, 0]) and not spk[end:, i].any()
    assert spk.any()


def test_another_rhythm_moves_bounds_or_order_of_the_steps(temporal: Any) -> None:
    x = torch.linspace(0, 1, 40).view(40, 1, 1, 1).expand(40, 300, 2, 1)
    same = temporal.of_another_rhythm(x, 0.0, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(same, x)
    found = temporal.of_another_rhythm(x, 0.1, 0.3, torch.Generator().manual_seed(0))
    assert bool((found.diff(dim=0) >= 0).all()) and not torch.equal(found[:, 0], found[:, 1])
    assert float(found.min()) == 0 and float(found.max()) == 1
    assert 0.05 < float(found[0].max()) < 0.1 and 0.9 < float(found[-1].min()) < 0.95


def test_noise_lowers_an_energy_or_reaches_no_half_of_the_recordings(temporal: Any) -> None:
    x = torch.linspace(-3, 3, 32).view(1, 1, 32, 1).expand(5, 400, 32, 1).contiguous()
    found = temporal.over_noise(x, torch.Generator().manual_seed(0))
    changed = (found != x).flatten(2).any(2).any(0)
    assert 150 < int(changed.sum()) < 250
    assert bool((found >= x - 1e-6).all()) and float((found - x)[:, :, -8:].abs().max()) < 0.05
    assert bool((found[:, changed, 0] > -3).all()), "the quietest band of a noisy recording rises"
