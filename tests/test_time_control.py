"""The time control: what a network reaches without the order of the steps."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import leave_out_pictures

import spikeloom as snn
from spikeloom import cli
from spikeloom.train.samples import TensorBatches
from spikeloom.train.time_control import Shuffled, ridge_accuracy

GAP = 3  # steps between the two spikes


def ordered(count: int, *, seed: int = 0, ragged: bool = False) -> tuple[Any, Tensor]:
    """Two spikes of two inputs, GAP steps apart: the class says which comes first."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    start = torch.randint(0, 5, (count,), generator=generator)
    x = torch.zeros(count, 12, 2)
    x[torch.arange(count), start, y] = 1
    x[torch.arange(count), start + GAP, 1 - y] = 1
    if ragged:
        return [each[: int(s) + GAP + 2] for each, s in zip(x, start, strict=True)], y
    return x, y


def coincidence() -> nn.Sequential:
    """Output c fires where input c, delayed by the gap, meets the other input."""
    delays = torch.tensor([[GAP, 0], [0, GAP]])
    linear = snn.DelayedLinear(2, 2, GAP, delays, bias=False)
    nn.init.ones_(linear.weight)
    return nn.Sequential(linear, snn.Leaky(0.0, threshold=1.5, init_hidden=True))


@pytest.mark.parametrize("ragged", [False, True])
def test_a_network_that_needs_the_order_of_spikes_fails_without_it(ragged: bool) -> None:
    data = (*ordered(40, ragged=ragged), *ordered(200, seed=1, ragged=ragged))
    found = snn.train.time_control(coincidence(), data)
    assert found.accuracy == 1.0 and found.ridge == pytest.approx(0.5, abs=0.12)
    assert found.shuffled < 0.75 and not found.static
    assert found.gap == pytest.approx(1 - max(found.shuffled, found.ridge))
    again = snn.train.time_control(coincidence(), data)
    assert again == found  # the orders are drawn from a seed
    assert "the gap is" in str(found)


def test_a_result_that_counts_give_as_well_is_marked_as_static() -> None:
    y = torch.arange(60) % 2
    x = torch.zeros(60, 8, 2)
    for b, label in enumerate(y.tolist()):
        x[b, torch.arange(1 + 3 * label), label] = 1
    linear = nn.Linear(2, 2, bias=False)
    nn.init.eye_(linear.weight)
    net = nn.Sequential(linear, snn.Leaky(0.0, threshold=0.5, init_hidden=True))
    found = snn.train.time_control(net, (x, y, x, y))
    assert found.accuracy == found.shuffled == found.ridge == 1.0 and found.static
    assert "static: the gap of 0.00 points is below 5" in str(found)


def test_fit_prints_the_control_and_writes_it_into_the_run_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_pictures(monkeypatch)
    data = (*ordered(40), *ordered(20, seed=1))
    options: dict[str, Any] = {"encode": "sequence", "epochs": 1, "progress": False, "lr": 1e-6}
    result = snn.fit(coincidence(), data, time_control=True, out=tmp_path, **options)
    assert result.time_control is not None and result.time_control.accuracy == 1.0
    assert str(result.time_control) in str(result)
    card = json.loads((tmp_path / "run.json").read_text())["time_control"]
    assert card["gap"] == result.time_control.gap and card["static"] is False
    plain = snn.fit(coincidence(), data, **options)
    assert plain.time_control is None and "time control" not in str(plain)
    for a, b in zip(result.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_evaluate_shows_the_steps_in_a_random_order() -> None:
    x, y = ordered(200)
    options: dict[str, Any] = {"encode": "sequence", "batch_size": 64}
    assert snn.evaluate(coincidence(), (x, y), **options).accuracy == 1.0
    found = [
        snn.evaluate(coincidence(), (x, y), shuffled_in_time=True, seed=s, **options).accuracy
        for s in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2] and all(v is not None and v < 0.75 for v in found)


def test_shuffled_samples_keep_their_steps_and_their_padding() -> None:
    x = torch.arange(1, 22.0).view(3, 7, 1)
    ends = torch.tensor([7, 2, 4])
    batches = TensorBatches(x, torch.zeros(3).long(), 3, lengths=ends)
    (batch,) = Shuffled(batches, 0).start()
    for b, end in enumerate(ends):
        assert sorted(batch.x[b, :end].flatten().tolist()) == x[b, :end].flatten().tolist()
        assert torch.equal(batch.x[b, end:], x[b, end:])
    assert not torch.equal(batch.x[0], x[0])


@pytest.mark.parametrize("features", [3, 50])
def test_ridge_regression_is_the_best_of_the_normal_equations(features: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, features, generator=generator, dtype=torch.float64)
    other = torch.randn(100, features, generator=generator, dtype=torch.float64)
    y, wanted = (x[:, 0] > 0).long(), (other[:, 0] > 0).long()
    mean, scale = x.mean(0), x.std(0, correction=0)
    z, hot = (x - mean) / scale, nn.functional.one_hot(y).double()
    largest = torch.linalg.matrix_norm(z, 2) ** 2
    errors, accuracies = [], []
    for power in range(9):
        gram = z.T @ z + largest * 10.0**-power * torch.eye(features).double()
        weights = torch.linalg.solve(gram, z.T @ (hot - hot.mean(0)))
        leave_out = []
        for i in range(len(z)):  # without sample i, with the means of all
            influence = z[i] @ torch.linalg.solve(gram, z[i]) + 1 / len(z)
            leave_out.append((hot[i] - hot.mean(0) - z[i] @ weights) / (1 - influence))
        errors.append(float(torch.stack(leave_out).square().sum()))
        scores = (other - mean) / scale @ weights + hot.mean(0)
        accuracies.append(float((scores.argmax(1) == wanted).double().mean()))
    best = accuracies[errors.index(min(errors))]
    assert ridge_accuracy((x, y), (other, wanted)) == pytest.approx(best)


def test_constant_features_and_classes_that_training_lacks_do_not_break_the_regression() -> None:
    x = torch.ones(4, 2, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 1])
    assert ridge_accuracy((x, y), (x, torch.tensor([1, 1, 0, 5]))) == 0.5


REFUSED: dict[str, Any] = {
    "static samples": ({"encode": "direct", "num_steps": 4}, ordered(8), "for samples that carry"),
    "no test": ({"encode": "sequence"}, None, "got no test samples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_control_that_does_not_apply_is_refused_before_the_training(case: str) -> None:
    options, data, message = REFUSED[case]
    net = nn.Sequential(nn.Linear(2, 2), snn.Leaky(0.9, init_hidden=True))
    if data is None:
        x, y = ordered(8)
        given: Any = torch.utils.data.TensorDataset(x, y)
    else:
        x, y = data
        given = (x[:, 0], y, x[:, 0], y)
    with pytest.raises(ValueError, match=message):
        snn.fit(net, given, time_control=True, epochs=1, progress=False, **options)
    with pytest.raises(ValueError, match="shuffled_in_time is for samples that carry time"):
        snn.evaluate(net, (x[:, 0], y), num_steps=3, shuffled_in_time=True)


def test_the_command_line_prints_the_control(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    leave_out_pictures(monkeypatch)
    x, y = ordered(40)
    path = tmp_path / "ordered.npz"
    np.savez(path, x_train=x.numpy(), y_train=y.numpy(), x_test=x.numpy(), y_test=y.numpy())
    out = str(tmp_path / "run")
    words = ["train", "--data", str(path), "--epochs", "1", "--hidden", "4", "--out", out]
    assert cli.main([*words, "--quiet", "--time-control"]) == 0
    assert "time control: accuracy" in capsys.readouterr().out
    assert cli.main(["evaluate", out, "--time-control"]) == 0
    assert "ridge regression on means over time" in capsys.readouterr().out
