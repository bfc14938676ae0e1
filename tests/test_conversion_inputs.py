"""Conversion: codes of the input, readouts, max pooling over time, and mistakes of the user."""

from typing import Any

import pytest
import torch
from conversion_nets import mlp
from torch import nn

from spikeloom.conversion import SpikingMaxPool, convert

# -- input and readout -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["poisson", pytest.param("signed_poisson", marks=pytest.mark.slow)]
)
def test_poisson_input_has_the_mean_of_the_sample_and_follows_its_generator(code: str) -> None:
    net = mlp()
    x = torch.rand(8, 6) * (3 if code == "poisson" else 6) - (0 if code == "poisson" else 3)
    converted = convert(net, x, method="max", input=code)
    assert float(converted.input_scale) == pytest.approx(float(x.abs().max()))
    mean = torch.stack([converted.coded(x) for _ in range(4000)]).mean(0)
    assert torch.allclose(mean, x, atol=0.2)
    one, two = (converted(x, 30, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, converted(x, 30))
    wanted = net(x)
    assert (converted(x, 2000) - wanted).norm() < 0.1 * wanted.norm()


def test_poisson_input_refuses_negative_numbers() -> None:
    converted = convert(mlp(), torch.rand(5, 6), input="poisson")
    with pytest.raises(
        ValueError, match=r'codes numbers >= 0, got -1; write input="signed_poisson"'
    ):
        converted(-torch.ones(1, 6))
    assert torch.isfinite(converted(torch.zeros(1, 6))).all()  # an image has black pixels


def test_a_spike_readout_counts_spikes_of_the_last_layer() -> None:
    x = torch.rand(30, 6)
    net = convert(mlp(), x, readout="spikes", method="max")
    size = net.thresholds["readout"]
    counts = net(x, 12) * 12 / size
    assert torch.allclose(counts, counts.round(), atol=1e-4) and counts.max() > 0
    assert torch.allclose(net(x, 500), mlp()(x).clamp(min=0), atol=float(size) / 100)
    assert torch.allclose(net.ann(x), mlp()(x), atol=1e-6)


# -- max pooling -----------------------------------------------------------------------------------


def test_pooled_spikes_have_the_maximum_of_the_rates_at_every_step_and_are_spikes() -> None:
    spk = (
        torch.rand(30, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3
    ).float() * 0.7
    pool = SpikingMaxPool(nn.MaxPool2d(2))
    pool.mode = "sequence"
    out = pool(spk)
    wanted = torch.stack([nn.functional.max_pool2d(total, 2) for total in spk.cumsum(0)])
    assert torch.allclose(out.cumsum(0), wanted, atol=1e-5)
    assert torch.allclose(out, (out > 0.1) * 0.7, atol=1e-5)


def test_pooled_spikes_stay_spikes_over_many_pieces_of_time() -> None:
    generator = torch.Generator().manual_seed(2)
    spk = (torch.rand(300, 2, 3, 8, 8, generator=generator) < 0.4).float() * 0.3
    pool = SpikingMaxPool(nn.MaxPool2d(2))
    pool.mode = "sequence"
    out = torch.cat([pool(piece) for piece in spk.split(7)])
    assert ((out == 0) | (out > 0.29)).all() and out.max() < 0.31


@pytest.mark.parametrize("rule", ["max", "gate", "avg"])
@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AdaptiveMaxPool2d(2)], ids=str
)
def test_pooling_a_sequence_equals_its_steps_and_its_pieces(rule: str, pool: nn.Module) -> None:
    x = (torch.rand(6, 2, 3, 8, 8, dtype=torch.float64) < 0.4).double()
    step = SpikingMaxPool(pool, rule)
    steps = torch.stack([step(x_t) for x_t in x])
    whole = SpikingMaxPool(pool, rule)
    whole.mode = "sequence"
    assert torch.equal(torch.cat([whole(x[:2]), whole(x[2:])]), steps)


def test_the_gate_passes_spikes_of_the_input_that_leads() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0]]).reshape(4, 1, 1, 2)
    gate = SpikingMaxPool(nn.MaxPool1d(2), "gate")
    gate.mode = "sequence"
    assert gate(x).flatten().tolist() == [1.0, 0.0, 1.0, 1.0]


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "percentil"}, r"method must be one of .*did you mean 'percentile'"),
        ({"percentile": 0.0}, r"percentile must be in \(0, 100\]"),
        ({"initial_mem": 2.0}, r"initial_mem must be in \[0, 1\], got 2; write initial_mem=0.5"),
        ({"reset": "none"}, r"reset must be one of 'subtract', 'zero'"),
        ({"num_steps": 0}, r"num_steps must be in \[1, .*\], got 0; write num_steps=1"),
        ({"calibrate": "weights"}, r"calibrate must be one of None, 'bias', 'potential', 'both'"),
        ({"warm_up": 1.0}, r"warm_up must be in \[0, 1\), got 1; write warm_up=0"),
        (
            {"signed": True, "reset": "zero"},
            r'signed=True needs a reset that loses nothing, .*; write reset="subtract"',
        ),
        ({"scaling_factor": 0.0}, r"scaling_factor must be positive, got 0"),
        ({"max_pool": "median"}, r"max_pool must be one of 'max', 'gate', 'avg'"),
        ({"input": "rate"}, r"input must be one of 'current', 'poisson', 'signed_poisson'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(mlp(), torch.rand(5, 6), **options)


@pytest.mark.parametrize("option", ["signed", "per_channel"])
def test_a_flag_that_is_a_word_is_named(option: str) -> None:
    with pytest.raises(TypeError, match=f"{option} must be True or False, got 'no'"):
        convert(mlp(), torch.rand(5, 6), **{option: "no"})


@pytest.mark.parametrize("value", ["a quarter", None, [0.1, "b"]])
def test_an_option_that_is_no_number_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"warm_up must be a real number, got .*; write warm_up=0"):
        convert(mlp(), torch.rand(5, 6), warm_up=value)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ([], ValueError, r"there is no sample"),
        (torch.zeros(5, 6, dtype=torch.int64), TypeError, r"must be floating point"),
        (torch.zeros(6), ValueError, r"samples are \[N, ...\], got \(6,\)"),
        (torch.full((2, 6), float("nan")), ValueError, r"NaN"),
        (torch.rand(5, 7), ValueError, r"does not take samples of shape \[7\]"),
        ([torch.rand(5, 6), torch.rand(6)], ValueError, r"a batch of samples is .*got \(6,\)"),
        ([torch.rand(5, 6), torch.rand(0, 6)], ValueError, r"is .*B > 0, got \(0, 6\)"),
        (iter([torch.rand(5, 6)]), TypeError, r"read several times, got an iterator"),
        ("digits", TypeError, r"samples must be a tensor \[N, ...\] or an iterable"),
        (torch.ones(()).numpy(), TypeError, r"samples must be a tensor \[N, ...\] or an iterable"),
    ],
)
def test_wrong_samples_are_named(data: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        convert(mlp(), data)


def test_a_network_without_rectifiers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have a ReLU"):
        convert(nn.Linear(6, 3), torch.rand(5, 6))
    assert convert(nn.Linear(6, 3), torch.rand(5, 6), readout="spikes")(torch.rand(2, 6)).shape == (
        2,
        3,
    )


def test_a_report_needs_labels_and_a_run_a_number_of_steps() -> None:
    net = convert(mlp(), torch.rand(5, 6))
    with pytest.raises(TypeError, match=r"accuracy needs labels"):
        net.report(torch.rand(5, 6))
    with pytest.raises(
        ValueError, match=r"num_steps must be a positive integer, got 0; write num_steps=8"
    ):
        net(torch.rand(5, 6), 0)
    with pytest.raises(ValueError, match=r"tolerance must be in \[0, 1\]"):
        net.report((torch.rand(5, 6), torch.zeros(5)), tolerance=5)
