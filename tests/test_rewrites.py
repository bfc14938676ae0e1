"""Rewrites can be named and switched off; the plain interpreter computes the same."""

import pytest
import torch
from torch import nn

import spikeloom as snn


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), snn.Leaky(0.9, init_hidden=True)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(8 * 13 * 13, 10), snn.Leaky(0.9, init_hidden=True)
    )


def test_without_names_no_rewrite_is_used() -> None:
    net, x = network(), torch.rand(10, 16, 1, 28, 28)
    with snn.rewrites():
        plan = str(snn.run(net, x, explain=True).plan)
    assert "pooling" not in plan and "events" not in plan
    assert "with the pooling after it" in str(snn.run(net, x, explain=True).plan)


def test_the_choice_ends_with_its_block() -> None:
    net, x = network(), torch.rand(10, 16, 1, 28, 28)
    with snn.rewrites("events"):
        assert "with the pooling" not in str(snn.run(net, x, explain=True).plan)
    assert "with the pooling" in str(snn.run(net, x, explain=True).plan)


def test_an_unknown_rewrite_is_refused_with_the_known_ones() -> None:
    with (
        pytest.raises(
            ValueError, match="rewrite must be one of 'pooling', 'readout', 'events', got 'poling'"
        ),
        snn.rewrites("poling"),
    ):
        pass
