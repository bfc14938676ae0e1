"""Events: made from images by a moving camera, counted into frames, and padded to one length."""

import numpy as np
import pytest
import torch
from event_files import some_events

import spikeloom as snn
from spikeloom import data


def square(size=20, at=8, side=4):
    image = torch.zeros(1, 1, size, size)
    image[..., at : at + side, at : at + side] = 1
    return image


def test_saccade_events_are_causal_binary_and_balanced_over_the_closed_path():
    events = data.saccade(square().double(), 60)
    assert events.shape == (60, 1, 2, 20, 20) and events.dtype == torch.float64
    assert set(events.unique().tolist()) == {0, 1}
    half = data.saccade(square(), 30)
    assert half.sum() > 0 and not events[:, :, :, 0].any(), "nothing may happen far from the edges"


def test_saccade_sees_the_leading_edge_darken_and_the_trailing_one_brighten():
    """In the first saccade the camera moves right and down, so that the image moves left and up."""
    off, on = data.saccade(square(), 60, distance=2)[:20, 0].sum(0)
    assert on[7, 9] > 0 and off[7, 9] == 0, "brighter in front of the square, above it"
    assert off[11, 9] > 0 and on[11, 9] == 0, "darker behind it, at its bottom"


def test_saccade_counts_the_threshold_crossings_of_a_step():
    """With many steps each crossing of a threshold is one event: log(1.05 / 0.05) / 0.3 = 10.1 from
    dark to bright."""
    ends = square(at=4, side=12)
    first = data.saccade(ends, 3000, distance=4)[:1000, 0]
    assert first[:, 1, 8, 3].sum() == 10 and first[:, 0, 8, 3].sum() == 0


def test_saccade_noise_comes_from_the_generator():
    first, again = (
        data.saccade(square(), 9, noise=0.2, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    assert torch.equal(first, again) and first.mean() > 0.15


@pytest.mark.parametrize(
    ("images", "options", "error", "text"),
    [
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), {}, TypeError, "write images / 255"),
        (torch.zeros(1, 3, 8, 8), {}, ValueError, r"images.mean\(1, keepdim=True\)"),
        (torch.full((1, 1, 8, 8), 2.0), {}, ValueError, r"be in \[0, 1\], got 2 to 2"),
        (
            torch.zeros(1, 1, 8, 8),
            {"num_steps": 2},
            ValueError,
            "num_steps must be 3 or more, got 2",
        ),
        (
            torch.zeros(1, 1, 8, 8),
            {"threshold": 0},
            ValueError,
            "threshold must be positive, got 0",
        ),
        (torch.zeros(1, 1, 8, 8), {"noise": 2}, ValueError, r"noise must be in \[0, 1\], got 2"),
    ],
)
def test_saccade_refuses_what_it_cannot_see(images, options, error, text):
    with pytest.raises(error, match=text):
        data.saccade(images, **({"num_steps": 6} | options))


def test_frames_hold_every_event_at_its_place():
    events = some_events()
    frames = data.to_frames(events, (5, 4, 2), dt=100)
    counted = np.zeros((10, 2, 4, 5))
    start = events["t"].min()
    for x, y, t, p in events:
        counted[(t - start) // 100, p, y, x] += 1
    np.testing.assert_array_equal(frames, counted)


def test_frames_and_events_are_inverses():
    frames = torch.randint(0, 3, (6, 2, 4, 5), generator=torch.Generator().manual_seed(0)).float()
    frames[0, 0, 0, 0] = 1
    assert torch.equal(
        data.to_frames(data.to_events(frames, dt=10), (5, 4, 2), dt=10, num_steps=6), frames
    )


@pytest.mark.parametrize("scale", [1, 1e-3], ids=["whole", "fractional"])
def test_a_number_of_steps_divides_the_recording_evenly(scale):
    events = np.zeros(101, [("x", int), ("t", float if scale < 1 else int)])
    events["t"] = np.arange(101) * scale
    frames = data.to_frames(events, (1, 1, 1), num_steps=4)
    assert sorted(frames.flatten().tolist()) == [25, 25, 25, 26]


def test_later_events_are_left_out_and_missing_ones_are_silence():
    events = some_events()
    assert torch.equal(
        data.to_frames(events, (5, 4, 2), dt=100, num_steps=3),
        data.to_frames(events, (5, 4, 2), dt=100)[:3],
    )
    assert data.to_frames(events[:0], (5, 4, 2), num_steps=3).sum() == 0
    assert data.to_frames(events, (5, 4, 2), dt=100, num_steps=30)[10:].sum() == 0


def test_one_polarity_adds_on_and_off_and_binary_frames_hold_no_counts():
    events = some_events()
    both = data.to_frames(events, (5, 4, 2), dt=100)
    assert torch.equal(data.to_frames(events, (5, 4, 1), dt=100), both.sum(1, keepdim=True))
    assert torch.equal(data.to_frames(events, (5, 4, 2), dt=100, binary=True), (both > 0).float())


def test_events_without_a_row_or_polarity_are_one_line():
    events = np.array([(3, 0), (1, 5)], dtype=[("x", int), ("t", int)])
    assert data.to_frames(events, (4, 1, 1), dt=5)[:, 0, 0].tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("events", "options", "error", "text"),
    [
        (
            np.zeros((3, 4)),
            {"dt": 1},
            TypeError,
            "structured array with the fields x, y, t, p, got ndarray",
        ),
        (
            some_events(),
            {},
            ValueError,
            "num_steps or dt must define the number of steps of 200 events",
        ),
        (some_events()[:0], {"dt": 1}, ValueError, "number of steps of 0 events"),
        (some_events(), {"dt": 0}, ValueError, "dt must be positive, got 0"),
        (
            some_events(),
            {"dt": 100, "sensor_size": (4, 4, 2)},
            ValueError,
            r"x must be in \[0, 3\].* got 0 to 4",
        ),
    ],
)
def test_events_that_make_no_frames_are_refused(events, options, error, text):
    with pytest.raises(error, match=text):
        data.to_frames(events, **({"sensor_size": (5, 4, 2)} | options))


def test_shorter_recordings_end_in_silence():
    samples = [(torch.ones(2, 3), 4), (torch.ones(5, 3), 1)]
    x, y, lengths = data.pad_sequences(samples, lengths=True)
    assert x.shape == (5, 2, 3) and x.sum((0, 2)).tolist() == [6, 15]
    assert y.tolist() == [4, 1] and lengths.tolist() == [2, 5]
    assert torch.equal(data.pad_sequences(samples, batch_first=True)[0], x.transpose(0, 1))
    with pytest.raises(ValueError, match=r"got \[\(2, 3\), \(2, 4\)\]"):
        data.pad_sequences([(torch.ones(2, 3), 0), (torch.ones(2, 4), 0)])


def test_spikes_after_the_end_of_a_recording_were_counted():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    torch.nn.init.constant_(net[0].bias, 0.4)
    samples = [(torch.rand(4, 3), 0), (torch.rand(20, 3), 1)]
    x, _, lengths = data.pad_sequences(samples, lengths=True)
    spk = snn.run(net, x)
    assert spk[4:, 0].any()
    masked = data.mask_sequences(spk, lengths)
    assert not masked[4:, 0].any() and torch.equal(masked[:4], spk[:4])
    assert torch.equal(masked[:, 1], spk[:, 1])
    swapped = data.mask_sequences(spk.transpose(0, 1), lengths, batch_first=True)
    assert torch.equal(swapped, masked.transpose(0, 1))
    for wrong in (torch.tensor([4]), torch.tensor([4, 21]), torch.tensor([4.0, 20.0])):
        with pytest.raises(ValueError, match=r"2 whole numbers in \[0, 20\]"):
            data.mask_sequences(spk, wrong)


def test_frames_need_a_sensor():
    with pytest.raises(
        ValueError, match=r"sensor_size must be \(width, height, polarities\), got None from list"
    ):
        data.EventFrames([], dt=1)


def test_frames_can_begin_at_a_given_time():
    events = some_events()
    start = int(events["t"].min()) + 250
    late = events[events["t"] >= start]
    assert data.to_frames(events, (5, 4, 2), dt=100, start=start).sum() == len(late)
    with pytest.raises(ValueError, match="number of steps of 200 events from start=5000"):
        data.to_frames(events, (5, 4, 2), dt=100, start=5000)
