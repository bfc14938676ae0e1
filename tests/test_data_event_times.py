"""Times of events that are NaN, infinite, absurd or near the ends of int64: the right step, or an
error by index."""

import numpy as np
import pytest
import torch

from spikeloom import data

FLOATS = [("x", "i2"), ("y", "i2"), ("t", "f8"), ("p", "i1")]


def three(time, kind=FLOATS):
    return np.array([(0, 0, 0, 1), (1, 1, time, 0), (1, 0, 9, 1)], dtype=kind)


def steps(events, **options):
    return data.to_frames(events, (2, 2, 2), **options).sum((1, 2, 3)).tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "options", [{"num_steps": 3}, {"dt": 1.0}, {"num_steps": 3, "dt": 1.0, "start": 0.0}]
)
def test_a_time_that_is_not_finite_no_longer_swallows_the_good_events(bad, options):
    with pytest.raises(ValueError, match=rf"finite, got t={bad} at event 1 \(1 of 3"):
        data.to_frames(three(bad), (2, 2, 2), **options)
    assert sum(steps(three(5.0), **options)) == 3 - ("start" in options) * 2


def test_a_recording_of_2_to_the_60_microseconds_is_divided_without_overflow():
    events = np.array([(0, 0, 0, 1), (1, 1, 2**60, 0)], dtype=data.EVENT)
    assert np.flatnonzero(steps(events, num_steps=100)).tolist() == [0, 99]


def test_steps_beyond_int64_are_those_of_exact_arithmetic():
    random = np.random.default_rng(0)
    events = np.zeros(500, data.EVENT)
    events["t"] = random.integers(0, 2**62, 500)
    span = int(events["t"].max()) - int(events["t"].min()) + 1
    exact = [(int(t) - int(events["t"].min())) * 1000 // span for t in events["t"]]
    assert steps(events, num_steps=1000) == np.bincount(exact, minlength=1000).tolist()


@pytest.mark.parametrize("options", [{"num_steps": 4}, {"dt": 10}, {"num_steps": 4, "dt": 10}])
def test_times_at_both_ends_of_int64_are_refused_instead_of_wrapped(options):
    events = np.array([(0, 0, -(2**63), 1), (1, 1, 2**63 - 1, 0)], dtype=data.EVENT)
    with pytest.raises(
        ValueError,
        match=r"less than 2\^63 from start=-9223372036854775808, got t=9223372036854775807",
    ):
        data.to_frames(events, (2, 2, 2), **options)


def test_unsigned_times_beyond_int64_are_refused_instead_of_read_as_negative():
    kind = [("x", "i2"), ("t", "u8")]
    with pytest.raises(ValueError, match=r"below 2\^63, got t=18446744073709551615 at event 0"):
        data.to_frames(np.array([(0, 2**64 - 1)], kind), (2, 1, 1), num_steps=3)


def test_late_times_of_a_clock_count_from_the_first_event():
    """Unix time in microseconds plus an offset near the end of int64."""
    events = three(5, data.EVENT)
    events["t"] += 2**63 - 20
    assert steps(events, num_steps=3) == [1, 1, 1]
    assert steps(events, dt=4) == [1, 1, 1]


@pytest.mark.parametrize("kind", [FLOATS, data.EVENT])
def test_one_absurd_time_does_not_ask_for_terabytes_of_frames(kind):
    with pytest.raises(
        ValueError,
        match=r"dt=1 the event 1 at t=1000000000000\.?0? needs 1e\+12 steps of 8 elements",
    ):
        data.to_frames(three(10**12, kind), (2, 2, 2), dt=1)
    assert steps(three(10**12, kind), dt=4, num_steps=3) == [1, 0, 1]


def test_more_frames_than_memory_is_said_in_words():
    with pytest.raises(
        ValueError, match=r"need .* GiB or so, more than there is; write smaller numbers"
    ):
        data.to_frames(three(5), (2, 2, 2), num_steps=2**56)
    with pytest.raises(ValueError, match=r"num_steps must be in \[1, \d+\], got 1000"):
        data.to_frames(three(5), (2, 2, 2), num_steps=10**30)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"num_steps": 2.5}, TypeError, "num_steps must be a whole number, got 2.5"),
        ({"num_steps": True}, TypeError, "num_steps must be a whole number, got True"),
        ({"num_steps": "3"}, TypeError, "num_steps must be a whole number, got '3'"),
        ({"num_steps": -1}, ValueError, "num_steps must be 1 or more, got -1"),
        ({"dt": float("nan")}, ValueError, "dt must be finite, got nan"),
        ({"dt": "1"}, TypeError, "dt must be a real number, got '1'"),
        ({"dt": 0}, ValueError, "dt must be positive, got 0"),
        ({"dt": 1, "start": float("inf")}, ValueError, "start must be finite, got inf"),
        (
            {"num_steps": 3, "sensor_size": (2, 2)},
            TypeError,
            r"\(width, height, polarities\), got \(2, 2\)",
        ),
        (
            {"num_steps": 3, "sensor_size": (2, 0, 2)},
            ValueError,
            "sensor_size must be 1 or more, got 0",
        ),
        ({"num_steps": 3, "binary": "no"}, TypeError, "binary must be True or False, got 'no'"),
    ],
)
def test_a_number_of_a_wrong_kind_is_refused_before_any_work(options, error, text):
    with pytest.raises(error, match=text):
        data.to_frames(three(5), **{"sensor_size": (2, 2, 2), **options})


def test_steps_and_durations_of_numpy_are_numbers():
    options = {"num_steps": np.int64(3), "dt": np.float32(4.0), "start": np.int64(0)}
    assert steps(three(5), **options) == steps(three(5), num_steps=3, dt=4, start=0)


def test_an_address_that_is_no_whole_number_is_refused_with_its_event():
    events = np.array([(0.0, 0, 1), (np.nan, 5, 1)], [("x", "f4"), ("t", "i8"), ("p", "i1")])
    with pytest.raises(ValueError, match=r"x must be in \[0, 1\] .* first at event 1"):
        data.to_frames(events, (2, 1, 2), num_steps=2)


@pytest.mark.parametrize(
    ("frames", "dt", "error", "text"),
    [
        (torch.full((2, 1, 1, 1), float("nan")), 1, ValueError, "counts 0, 1, 2, ..., got nan"),
        (torch.full((2, 1, 1, 1), -1.0), 1, ValueError, "counts 0, 1, 2, ..., got -1 and 1 more"),
        (torch.full((2, 1, 1, 1), 0.5), 1, ValueError, "counts 0, 1, 2, ..., got 0.5"),
        (torch.ones(2, 1, 1, 1), 0.5, TypeError, "dt must be a whole number, got 0.5"),
        (torch.ones(2, 1, 1, 1), 2**62, ValueError, r"dt must be in \[1, 2305843009213693952\]"),
        (torch.ones(2, 200, 1, 1), 1, ValueError, "at most 127 polarities"),
        ([1], 1, TypeError, r"frames must be a torch.Tensor, got list"),
    ],
)
def test_frames_that_are_no_counts_do_not_become_events(frames, dt, error, text):
    with pytest.raises(error, match=text):
        data.to_events(frames, dt=dt)


@pytest.mark.parametrize(
    ("samples", "error", "text"),
    [
        ([], ValueError, r"recordings must have the shape \[T_i, ...\]"),
        ([torch.ones(2)], TypeError, r"pairs \(recording, target\), got Tensor at 0"),
        ([(torch.ones(2), "a")], TypeError, "sample 0 must hold a tensor and a number"),
        (
            [(torch.ones(2), 1), (torch.ones(3), torch.ones(2))],
            ValueError,
            r"targets must have one shape, got \[\(\)",
        ),
    ],
)
def test_recordings_that_make_no_batch_are_refused_in_words(samples, error, text):
    with pytest.raises(error, match=text):
        data.pad_sequences(samples)
