"""Encoders with snnTorch's names: what they return, what they draw, and what they refuse."""

import math

import pytest
import torch

from spikeloom import spikegen


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_rate_draws_once_so_that_a_seed_reproduces_one_bernoulli_of_the_whole_train():
    data = image(4, 3)
    torch.manual_seed(1)
    spk = spikegen.rate(data, num_steps=50, gain=0.5, offset=0.1)
    torch.manual_seed(1)
    assert torch.equal(spk, torch.bernoulli((data * 0.5 + 0.1).repeat(50, 1, 1)))


def test_rate_takes_a_generator_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    first, second = (
        spikegen.rate(image(9), 20, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_rate_compiles_without_a_graph_break():
    compiled = torch.compile(
        lambda x: spikegen.rate(x, num_steps=3), fullgraph=True, backend="eager"
    )
    assert torch.equal(compiled(torch.tensor([0.0, 1.0])), torch.tensor([[0.0, 1.0]] * 3))


def test_rate_fires_with_the_probability_of_the_intensity():
    spk = spikegen.rate(torch.tensor([-0.5, 0.0, 0.2, 0.7, 1.0, 3.0]), num_steps=20_000)
    assert spk.mean(0) == pytest.approx([0, 0, 0.2, 0.7, 1, 1], abs=0.02)


def test_rate_keeps_the_first_steps_silent():
    static = spikegen.rate(torch.ones(2, 3), num_steps=5, first_spike_time=2)
    assert static.shape == (5, 2, 3)
    assert static.sum((1, 2)).tolist() == [0, 0, 6, 6, 6]
    varying = spikegen.rate(torch.ones(4, 2), time_var_input=True, first_spike_time=3)
    assert varying.sum(1).tolist() == [0, 0, 0, 2, 2, 2, 2]


def test_rate_of_time_varying_input_no_longer_ignores_gain_and_offset():
    spk = spikegen.rate(torch.full((100, 50), 0.5), time_var_input=True, gain=0.0, offset=0.25)
    assert spk.mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "encode",
    [
        lambda x: spikegen.rate(x, 6),
        lambda x: spikegen.rate(x, time_var_input=True, first_spike_time=2),
        lambda x: spikegen.latency(x, 10, normalize=True),
        lambda x: spikegen.latency(x, 10, normalize=True, interpolate=True),
        lambda x: spikegen.delta(x, off_spike=True),
        lambda x: spikegen.poisson(x, dt=0.1, num_steps=3),
        lambda x: spikegen.phase(x, 8, weighted=True),
        lambda x: spikegen.burst(x, 20),
        lambda x: spikegen.population(x, 5, 10),
        lambda x: spikegen.population(x, 5, 10, code="rate"),
    ],
)
def test_spikes_have_the_dtype_of_the_input(encode, dtype: torch.dtype) -> None:
    assert encode(image(3, 4).to(dtype)).dtype == dtype


@pytest.mark.parametrize(
    "encode", [spikegen.rate, spikegen.latency, spikegen.phase, spikegen.burst]
)
def test_integer_images_are_refused_with_the_way_out(encode) -> None:
    with pytest.raises(
        TypeError, match=r"data must be floating point, got torch.uint8 .*write data / 255"
    ):
        encode(torch.zeros(2, 2, dtype=torch.uint8), num_steps=30)
    with pytest.raises(TypeError, match=r"got list; write torch\.as_tensor"):
        encode([0.5], num_steps=30)
    with pytest.raises(ValueError, match="data must not hold NaN, got 1 of 2 values"):
        encode(torch.tensor([0.5, torch.nan]), num_steps=30)


def test_latency_follows_the_charging_curve_of_an_rc_circuit():
    data = torch.tensor([1.0, 0.5, 0.02, 0.0])
    time = spikegen.latency_code_log(data, tau=5, threshold=0.01)
    assert time[:3] == pytest.approx(
        [5 * math.log(x / (x - 0.01)) for x in (1.0, 0.5, 0.02)], rel=1e-4
    )
    spk = spikegen.latency(data, num_steps=100, tau=5, threshold=0.01)
    assert spk.sum(0).tolist() == [1, 1, 1, 1]
    assert spk.argmax(0).tolist() == time.round().tolist()


def test_latency_clips_what_lies_below_the_threshold():
    spk = spikegen.latency(torch.tensor([1.0, 0.005]), 20, normalize=True, clip=True)
    assert spk.sum(0).tolist() == [1, 0]


def test_latency_clip_no_longer_vanishes_with_interpolate():
    rise = spikegen.latency(
        torch.tensor([1.0, 0.005]), 5, normalize=True, linear=True, clip=True, interpolate=True
    )
    assert rise[:, 1].tolist() == [0] * 5


def test_latency_off_target_below_zero_is_no_longer_read_as_zero():
    spk = spikegen.latency(torch.tensor([1.0]), 3, on_target=1, off_target=-1)
    assert spk.squeeze(1).tolist() == [1, -1, -1]


def test_latency_stops_at_the_last_spike_with_bypass():
    data = torch.tensor([1.0, 0.5])
    assert len(spikegen.latency(data, tau=10, linear=True, bypass=True)) == 6
    assert spikegen.latency(data, 4, tau=10, linear=True, bypass=True).sum(0).tolist() == [1, 0]


def test_latency_of_half_precision_is_computed_in_single():
    data = image(5, 5)
    half = spikegen.latency(data.half(), 50, tau=5, threshold=0.01, bypass=True)
    assert torch.equal(
        half, spikegen.latency(data.half().float(), 50, tau=5, threshold=0.01, bypass=True).half()
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"data": torch.tensor([1.5])}, r"data must be in \[0, 1\], got 1.5"),
        ({"num_steps": False}, "latency needs num_steps > 0, got none"),
        ({"num_steps": -3}, "num_steps must not be negative, got -3"),
        ({"threshold": 0}, r"threshold must be in \(0, 1\), got 0"),
        ({"tau": 0}, "tau must be positive, got 0"),
        (
            {"num_steps": 3, "tau": 5},
            "before num_steps=3, got one at step 58; write normalize=True",
        ),
        ({"first_spike_time": 100}, "first_spike_time must be below num_steps=100, got 100"),
        ({"epsilon": 1e-12}, "epsilon must not vanish beside threshold=0.01"),
        (
            {"interpolate": True, "on_target": 0, "off_target": 1},
            "on_target must not be below off_target=1, got 0",
        ),
    ],
)
def test_latency_says_what_is_wrong(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        spikegen.latency(
            **{"data": torch.tensor([0.0, 1.0]), "num_steps": 100, "threshold": 0.01} | arguments
        )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "rate needs num_steps > 0 for static input, got none"),
        (
            {"num_steps": 3, "time_var_input": True},
            r"takes its steps from the first axis \(2\), got num_steps=3 too",
        ),
        (
            {"num_steps": 3, "first_spike_time": 3},
            "first_spike_time must be below num_steps=3, got 3",
        ),
        ({"num_steps": 3, "first_spike_time": -1}, "first_spike_time must not be negative"),
    ],
)
def test_rate_says_what_is_wrong(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        spikegen.rate(torch.zeros(2, 2), **arguments)
    with pytest.raises(TypeError, match=r"num_steps must be an integer, got 2\.5"):
        spikegen.rate(torch.zeros(2, 2), num_steps=2.5)  # type: ignore[arg-type]


def test_delta_fires_on_rises_and_falls_as_in_tutorial_1():
    data = torch.tensor([0.0, 1, 0, 2, 8, -20, 20, -5, 0, 1, 0])
    assert spikegen.delta(data, threshold=4).tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0]
    assert spikegen.delta(data, threshold=4, off_spike=True).tolist() == [
        0,
        0,
        0,
        0,
        1,
        -1,
        1,
        -1,
        1,
        0,
        0,
    ]


def test_delta_pads_with_the_first_step():
    data = torch.tensor([[3.0], [3.0]])
    assert spikegen.delta(data).tolist() == [[1], [0]]
    assert spikegen.delta(data, padding=True).tolist() == [[0], [0]]


def test_delta_refuses_what_has_no_differences():
    with pytest.raises(TypeError, match="data must be signed"):
        spikegen.delta(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="threshold must be positive"):
        spikegen.delta(torch.zeros(3), threshold=0)


def test_from_one_hot_returns_classes_no_longer_row_numbers():
    labels = torch.tensor([2, 0, 1, 2])
    assert torch.equal(spikegen.from_one_hot(spikegen.to_one_hot(labels, 3)), labels)
    with pytest.raises(ValueError, match="one 1 and zeros along the last axis"):
        spikegen.from_one_hot(torch.tensor([[1.0, 1.0]]))


@pytest.mark.parametrize(("label", "error"), [(3, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_one_hot_refuses_labels_that_are_none(label: float, error: type) -> None:
    with pytest.raises(error, match="targets must"):
        spikegen.to_one_hot(torch.tensor([0, label]), 3)


def test_targets_rate_is_right_for_other_numbers_of_steps_than_classes():
    spk = spikegen.targets_rate(
        torch.tensor([1, 0]), 3, num_steps=10, correct_rate=0.5, incorrect_rate=0.2
    )
    assert spk.shape == (10, 2, 3)
    assert spk.sum(0).tolist() == [[2, 5, 2], [5, 2, 2]]


def test_targets_rate_off_target_below_zero_is_no_longer_read_as_zero():
    assert spikegen.targets_rate(torch.tensor([1]), 2, on_target=0, off_target=-1).tolist() == [
        [-1, 0]
    ]
    assert spikegen.targets_rate(torch.tensor([1]), 2, 3, 1, on_target=2, off_target=3)[
        1
    ].tolist() == [[3, 2]]


def test_targets_rate_rises_between_spikes():
    spk = spikegen.targets_rate(
        torch.tensor([0]), 2, num_steps=5, correct_rate=0.25, on_target=1, interpolate=True
    )
    assert spk[:, 0].tolist() == [
        [1, 0],
        [0, 0],
        [pytest.approx(1 / 3), 0],
        [pytest.approx(2 / 3), 0],
        [1, 0],
    ]


def test_targets_convert_latency_no_longer_drops_its_targets():
    spk = spikegen.targets_convert(
        torch.tensor([0]), 2, "latency", 3, normalize=True, on_target=5, off_target=-2
    )
    assert spk[:, 0].tolist() == [[5, -2], [-2, -2], [-2, 5]]
    rise = spikegen.targets_convert(
        torch.tensor([0]), 2, "latency", 3, normalize=True, interpolate=True
    )
    assert rise[:, 0, 1].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("pattern", ["regular", "uniform", "Poisson"])
def test_target_rate_code_fires_as_often_as_it_should(pattern: str) -> None:
    spk, times = spikegen.target_rate_code(
        2000, first_spike_time=500, rate=0.25, firing_pattern=pattern
    )
    assert spk[:500].sum() == 0
    assert torch.equal(spk.nonzero().squeeze(1), times.unique())
    assert len(times) == pytest.approx(375, abs=80 if pattern == "Poisson" else 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"code": "rat"}, "did you mean 'rate'"),
        (
            {"correct_rate": 0.1, "incorrect_rate": 0.2},
            "correct_rate must not be below incorrect_rate=0.2, got 0.1",
        ),
        ({"correct_rate": 1.5}, "correct_rate must be in"),
        ({"correct_rate": 0.5}, "num_steps must be given for correct_rate=0.5"),
        ({"firing_pattern": "random"}, "firing_pattern must be one of"),
        ({"targets": torch.tensor([4])}, r"targets must be in \[0, 2\] for num_classes=3, got 4"),
    ],
)
def test_targets_convert_says_what_is_wrong(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        spikegen.targets_convert(**{"targets": torch.tensor([0]), "num_classes": 3} | arguments)


def test_labels_that_change_over_time_become_targets_that_do():
    assert spikegen.targets_convert(torch.tensor([[0], [1]]), 2).tolist() == [[[1, 0]], [[0, 1]]]
