"""Tasks that are computed: their classes, their ranges, and that they never change."""

import zlib

import pytest
import torch

from spikeloom import data


def test_yin_yang_has_three_equal_classes_in_a_disc() -> None:
    split = data.yin_yang()
    assert (
        split.x_train.shape == (5000, 4)
        and split.x_test.shape == (1000, 4)
        and split.num_classes == 3
    )
    assert (split.y_train.bincount() - 5000 / 3).abs().max() < 120
    x, y = split.x_train[:, 0], split.x_train[:, 1]
    assert (torch.hypot(x - 0.5, y - 0.5) <= 0.5 + 1e-6).all()
    torch.testing.assert_close(split.x_train[:, 2:], 1 - split.x_train[:, :2])
    dots = torch.minimum(torch.hypot(x - 0.25, y - 0.5), torch.hypot(x - 0.75, y - 0.5))
    assert torch.equal(split.y_train == 2, dots < 0.1)


def test_yin_and_yang_are_the_same_region_turned_round() -> None:
    split = data.yin_yang(20000, 1)
    place = split.x_train[:, :2]
    turned, label = 1 - place, split.y_train  # by half a turn
    yin = label == 1
    nearest = torch.cdist(turned[yin][:300], place).argmin(1)
    assert (label[nearest] == 0).double().mean() > 0.93  # but for points beside a border


def test_tasks_never_change() -> None:
    split = data.yin_yang(100, 10)
    assert (
        zlib.crc32((split.x_train[:, :2] * 2**20).long().numpy().astype("<i8").tobytes())
        == 3495924799
    )
    assert split.y_train[:10].tolist() == [2, 1, 2, 2, 0, 0, 2, 0, 2, 1]
    assert not torch.equal(split.x_train, data.yin_yang(100, 10, seed=1).x_train)


def test_xor_in_spike_times() -> None:
    times, wanted = data.xor_times(bias=None)
    assert times.shape == (4, 2) and wanted.flatten().tolist() == [16.0, 10.0, 10.0, 16.0]
    with pytest.raises(ValueError, match="early and late must be in this order, got 6 and 2"):
        data.xor_times(6, 2)


def test_manifolds_are_smooth_fill_the_unit_interval_and_differ() -> None:
    split = data.randman(4, 8, 400, 100)
    assert split.x_train.shape == (400, 8) and split.y_test.bincount().tolist() == [25] * 4
    both = torch.cat([split.x_train, split.x_test])
    assert both.min() == 0 and both.max() == 1
    near = torch.cdist(split.x_test, split.x_train).argmin(1)
    assert (
        split.y_train[near] == split.y_test
    ).double().mean() > 0.9  # neighbours lie on the same manifold
    smooth, rough = (data.randman(2, 8, 400, 100, smoothness=s, dimensions=1) for s in (3.0, 0.2))
    gap = [torch.cdist(s.x_test, s.x_train).min(1).values.mean() for s in (smooth, rough)]
    assert gap[0] < 0.5 * gap[1]


def test_delayed_xor_shows_two_cues_and_a_question() -> None:
    split = data.delayed_xor(200, 50, num_steps=20)
    assert split.x_train.shape == (200, 20, 3) and set(split.y_train.tolist()) == {0, 1}
    first, rest = split.x_train[:, :3, :2], split.x_train[:, 3:-3, :2]
    assert torch.equal(first.sum((1, 2)), torch.full((200,), 3.0)) and torch.equal(
        rest.sum((1, 2)), first.sum((1, 2))
    )
    answer = (first[:, 0, 1] != rest.sum(1).argmax(1)).long()
    assert torch.equal(answer, split.y_train)
    assert (
        torch.equal(split.x_train[:, -3:, 2], torch.ones(200, 3))
        and split.x_train[:, :-3, 2].sum() == 0
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: data.yin_yang(0), r"num_train must be in \[1, \d+\], got 0"),
        (lambda: data.yin_yang(seed=-1), "seed must be 0 or more, got -1"),
        (lambda: data.randman(smoothness=-1.0), "smoothness must be in \\[0, 1000\\], got -1"),
        (lambda: data.randman(modes=0), r"modes must be in \[1, \d+\], got 0"),
        (lambda: data.delayed_xor(num_steps=5), r"num_steps must be in \[12, \d+\], got 5"),
    ],
)
def test_mistakes_are_named(call, match) -> None:
    with pytest.raises(ValueError, match=match):
        call()
