"""Small Diehl & Cook networks, spikes and images for the tests."""

from typing import Any
from unittest import mock

import torch
from torch import Tensor

from spikeloom.learning import DiehlAndCook2015, Rule
from spikeloom.learning.diehl_cook import event

N, INPUTS, T = 5, 12, 40
ENGINES = ("event", "batched")


def network(rule: Rule | str | None = None, *, seed: int = 1, **options: Any) -> DiehlAndCook2015:
    options = {
        "neurons": N,
        "inputs": INPUTS,
        "theta_plus": 8.0,
        "inh": 3.0,
        "gain": 20.0,
        "tc_theta": 500.0,
        **options,
    }
    return DiehlAndCook2015(rule=rule, generator=torch.Generator().manual_seed(seed), **options)


def train_of(*samples: int, seed: int = 0) -> Tensor:
    return (
        torch.rand(T, *samples, INPUTS, generator=torch.Generator().manual_seed(seed)) < 0.12
    ).float()


def without_numba() -> Any:
    return mock.patch.object(event, "loop_refusal", lambda net: "not here")


def images(number: int = 24, seed: int = 3) -> Tensor:
    """Four bars of three pixels, at three intensities, with noise."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.1 * torch.rand(number, INPUTS, generator=generator)
    for k in range(number):
        x[k, 3 * (k % 4) : 3 * (k % 4) + 3] = 0.9
    return x


def small(**options: Any) -> DiehlAndCook2015:
    usual = {
        "time": 60.0,
        "gain": 30.0,
        "inh": 120.0,
        "tc_theta": 1e5,
        "neurons": 8,
        "theta_plus": 2.0,
    }
    return network(**{**usual, **options})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
