"""Encoders: what they return, what they draw, and what they refuse."""

import pytest
import torch

from spikeloom import spikegen


def test_rate_draws_once_so_that_a_seed_reproduces_one_bernoulli_of_the_whole_train():
    data = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    spk = spikegen.rate(data, num_steps=50, gain=0.5, offset=0.1)
    torch.manual_seed(1)
    assert torch.equal(spk, torch.bernoulli((data * 0.5 + 0.1).repeat(50, 1, 1)))


def test_rate_refuses_integer_images_and_says_divide_by_255():
    with pytest.raises(TypeError, match="data / 255"):
        spikegen.rate(torch.zeros(2, 2, dtype=torch.uint8), num_steps=3)
