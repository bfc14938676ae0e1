"""Encoders refuse images of 0 to 255, infinities, and steps or generators that are none."""

import pytest
import torch

import spikeloom as snn
from spikeloom import data, spikegen

GREY = torch.arange(256.0).reshape(1, 1, 16, 16)


@pytest.mark.parametrize(
    "encode",
    [
        lambda x: spikegen.rate(x, num_steps=5),
        lambda x: spikegen.rate(x[None], time_var_input=True),
        lambda x: spikegen.BernoulliEncoder(5)(x),
        lambda x: spikegen.BernoulliEncoder(5, scale=2.0)(x),
    ],
)
@pytest.mark.parametrize("images", [GREY, GREY[:, :, :2], GREY.half(), GREY - 128])
def test_images_of_0_to_255_no_longer_fire_at_every_step_in_silence(encode, images):
    with pytest.raises(
        ValueError, match=r"intensities in \[0, 1\], got .*write data / 255 for images of 0 to 255"
    ):
        encode(images)


def test_a_gain_or_scale_that_brings_images_into_range_is_obeyed():
    for spikes in (
        spikegen.rate(GREY, num_steps=4000, gain=1 / 255),
        spikegen.BernoulliEncoder(4000, scale=255.0)(GREY),
    ):
        torch.testing.assert_close(spikes.mean(0), GREY / 255, atol=0.05, rtol=0)


def test_values_a_little_outside_saturate_and_an_explicit_gain_may_saturate():
    assert spikegen.rate(torch.tensor([-0.3, 1.4]), num_steps=9).mean(0).tolist() == [0, 1]
    assert spikegen.rate(torch.tensor([0.5, 0.0]), num_steps=9, gain=100).mean(0).tolist() == [1, 0]


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize(
    "name", ["rate", "latency", "phase", "burst", "population", "delta", "rate_conv", "poisson"]
)
def test_values_that_are_not_finite_are_refused_by_every_encoder(name, bad):
    options = {"population": {"num_neurons": 4}, "poisson": {"dt": 0.1}}.get(name, {})
    if name not in ("delta", "rate_conv"):
        options["num_steps"] = 4
    with pytest.raises(ValueError, match=r"must not hold (NaN|infinity), got 1"):
        getattr(spikegen, name)(torch.tensor([0.5, bad]), **options)


@pytest.mark.parametrize("number", [-1, -(10**9)])
@pytest.mark.parametrize(
    "encode",
    [
        lambda n: spikegen.rate_interpolate(torch.tensor([1]), n),
        lambda n: spikegen.latency_interpolate(torch.tensor([1.0]), n),
        lambda n: spikegen.target_rate_code(n),
        lambda n: spikegen.rate(torch.rand(2), n),
        lambda n: spikegen.poisson(torch.rand(2), 1e-3, n),
        lambda n: spikegen.phase(torch.rand(2), n),
    ],
)
def test_a_negative_number_of_steps_is_named_instead_of_inconsistent_bounds(encode, number):
    with pytest.raises(ValueError, match=f"num_steps must not be negative, got {number}"):
        encode(number)
    for wrong in (2.5, "4", True, torch.ones(2)):
        with pytest.raises(TypeError, match="num_steps must be an integer, got"):
            encode(wrong)


X = torch.rand(3)


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: spikegen.rate(X, 4, generator=g),
        lambda g: spikegen.rate_conv(X, generator=g),
        lambda g: spikegen.poisson(X, 1e-3, 4, generator=g),
        lambda g: spikegen.population(X, 4, 5, generator=g),
        lambda g: spikegen.target_rate_code(4, generator=g),
        lambda g: spikegen.targets_rate(torch.tensor([1]), 3, generator=g),
        lambda g: spikegen.targets_convert(torch.tensor([1]), 3, generator=g),
        lambda g: spikegen.PoissonEncoder(5.0, generator=g),
        lambda g: spikegen.BernoulliEncoder(5, generator=g),
        lambda g: data.saccade(torch.rand(1, 8, 8), 3, generator=g),
    ],
)
@pytest.mark.parametrize("generator", ["seed", 0, torch.rand(2)])
def test_a_generator_that_is_none_is_refused_wherever_one_is_taken(draw, generator):
    with pytest.raises(
        TypeError, match=r"generator must be a torch.Generator or None, got .*manual_seed\(0\)"
    ):
        draw(generator)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: spikegen.rate(X, 4, gain="2"), TypeError, "gain must be a real number, got '2'"),
        (
            lambda: spikegen.rate(X, 4, offset=float("nan")),
            ValueError,
            "offset must be finite, got nan",
        ),
        (
            lambda: spikegen.rate(X, 4, time_var_input="no"),
            TypeError,
            "time_var_input must be True or False",
        ),
        (
            lambda: spikegen.latency(X, 4, clip="no"),
            TypeError,
            "clip must be True or False, got 'no'",
        ),
        (lambda: spikegen.latency(X, 4, tau="1"), TypeError, "tau must be a real number"),
        (
            lambda: spikegen.latency(X, 4, on_target=None),
            TypeError,
            "on_target must be a real number",
        ),
        (lambda: spikegen.latency(X, 4, epsilon=-1), ValueError, "epsilon must be positive"),
        (
            lambda: spikegen.to_one_hot([1], 3),
            TypeError,
            "targets must be a torch.Tensor, got list",
        ),
        (
            lambda: spikegen.to_one_hot(torch.tensor([1]), "3"),
            TypeError,
            "num_classes must be a whole number",
        ),
        (
            lambda: spikegen.to_one_hot(torch.tensor([float("nan")]), 3),
            TypeError,
            "got fractions or NaN",
        ),
        (lambda: spikegen.from_one_hot(torch.tensor(1.0)), ValueError, r"vectors \[..., C\]"),
        (
            lambda: spikegen.phase(X, 4, period=2.5),
            TypeError,
            "period must be a whole number, got 2.5",
        ),
        (
            lambda: spikegen.burst(X, 9, max_spikes=float("inf")),
            TypeError,
            "max_spikes must be a whole number",
        ),
        (lambda: spikegen.population(X, 4, 5, gamma="1"), TypeError, "gamma must be a real number"),
        (
            lambda: spikegen.population_times(X, 4, latest=float("inf")),
            ValueError,
            "latest must be finite",
        ),
        (
            lambda: spikegen.delta(torch.rand(3), threshold="1"),
            TypeError,
            "threshold must be a real number",
        ),
        (lambda: spikegen.delta(torch.tensor(1.0)), ValueError, r"a real signal \[T, ...\]"),
        (lambda: spikegen.delta(torch.rand(3) * 1j), ValueError, r"a real signal \[T, ...\]"),
        (
            lambda: spikegen.target_rate_code(4, firing_pattern=3),
            ValueError,
            "firing_pattern must be one of",
        ),
        (
            lambda: spikegen.rate_interpolate([1], 3),
            TypeError,
            "spike_time must be a torch.Tensor, got list",
        ),
        (lambda: spikegen.PoissonEncoder("5"), TypeError, "T must be a real number, got '5'"),
        (lambda: spikegen.PoissonEncoder(float("inf")), ValueError, "T must be finite"),
    ],
)
def test_an_argument_of_a_wrong_kind_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_an_empty_batch_is_encoded_as_an_empty_batch():
    empty = torch.rand(0, 3)
    for normalize in (False, True):
        for linear in (False, True):
            assert spikegen.latency(empty, 4, normalize=normalize, linear=linear).shape == (4, 0, 3)
    assert spikegen.rate(empty, 4).shape == (4, 0, 3)


def test_encoders_still_compile_and_run_on_meta():
    assert spikegen.rate(torch.rand(2, 3, device="meta"), 4).shape == (4, 2, 3)
    assert snn.spikegen.rate is spikegen.rate
