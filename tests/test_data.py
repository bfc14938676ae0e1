"""Data sets: the divisions are fixed, the values are in range, and every reader refuses what it cannot read."""

import zlib

import numpy as np
import pytest
import torch

from spikeloom import data

pytest.importorskip("sklearn")


def test_digits_come_as_images_between_zero_and_one():
    digits = data.digits()
    assert digits.x_train.shape == (1437, 1, 8, 8) and digits.x_test.shape == (360, 1, 8, 8)
    assert digits.x_train.dtype == torch.float32 and digits.y_test.dtype == torch.int64
    assert digits.x_train.min() == 0 and digits.x_train.max() == 1
    assert torch.equal(digits.x_train * 16, (digits.x_train * 16).round())
    assert torch.equal(data.digits(flat=True).x_test, digits.x_test.reshape(360, 64))


def test_division_is_disjoint_complete_and_stratified():
    labels = np.repeat(np.arange(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    train, test = data.stratified(labels, 360)
    assert sorted([*train, *test]) == list(range(1797)) and len(test) == 360
    assert abs(np.bincount(labels[test]) - np.bincount(labels) * 360 / 1797).max() < 1
    assert abs(np.bincount(labels[train][:500]) - 50).max() < 25, "the classes must come in random order"


def test_division_never_changes():
    train, test = data.stratified(np.arange(1797) % 10, 360)
    assert zlib.crc32(np.concatenate([train, test]).astype("<i8").tobytes()) == 1803009789
    digits, other = data.digits(), data.digits(split=1)
    assert digits.y_test[:10].tolist() == [5, 3, 1, 4, 9, 1, 0, 3, 9, 8]
    assert not torch.equal(digits.x_test, other.x_test)


def test_iris_lengths_lie_between_zero_and_one():
    iris = data.iris()
    assert iris.x_train.shape == (120, 4) and iris.y_test.bincount().tolist() == [10, 10, 10]
    assert iris.x_train.min() >= 0 and iris.x_train.max() <= 1 and iris.num_classes == 3


def test_split_must_be_a_number():
    with pytest.raises(ValueError, match=r"number of a fixed division.*got 'test'"):
        data.digits(split="test")
