"""Helpers for data sets; the numbers that agree with snnTorch are compared in
`test_recorded_surface`."""

from types import SimpleNamespace

import pytest
import torch

from spikeloom import utils


class Numbers(SimpleNamespace):
    """A data set as torchvision keeps it."""

    def __len__(self) -> int:
        return len(self.data)


def numbers(n: int) -> Numbers:
    return Numbers(data=torch.arange(n), targets=torch.arange(n) % 3)


def test_data_subset_keeps_one_contiguous_part():
    kept = utils.data_subset(numbers(11), subset=3, idx=2)
    assert (kept.data.tolist(), kept.targets.tolist()) == ([6, 7, 8], [0, 1, 2])
    assert len(utils.data_subset(numbers(11), subset=1)) == 11


def test_valid_split_moves_every_sample_to_exactly_one_side():
    train, val = utils.valid_split(numbers(50), numbers(0), split=0.3, seed=4)
    assert (len(train), len(val)) == (35, 15)
    assert sorted(train.data.tolist() + val.data.tolist()) == list(range(50))
    assert torch.equal(val.targets, val.data % 3)


def test_valid_split_is_reproduced_by_its_seed():
    first, second, other = (
        utils.valid_split(numbers(50), numbers(0), 0.3, seed)[1].data for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_helpers_say_what_is_wrong():
    data = numbers(5)
    with pytest.raises(ValueError, match=r"idx must be in \[0, 1\] for subset=2, got 2"):
        utils.data_subset(data, 2, idx=2)
    with pytest.raises(ValueError, match="subset must not exceed the 5 samples, got 9"):
        utils.data_subset(data, 9)
    with pytest.raises(ValueError, match=r"split must be in \[0, 1\], got 20"):
        utils.valid_split(data, numbers(0), 20)
    with pytest.raises(ValueError, match="must be two objects"):
        utils.valid_split(data, data, 0.5)
