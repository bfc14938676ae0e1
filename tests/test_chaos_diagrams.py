"""Bifurcation diagrams: known bifurcations at known strengths, and in time."""

import math

import pytest
import torch
from torch import Tensor

from spikeloom.chaos import bifurcation, feedback


def test_a_diagram_has_an_orbit_for_every_strength() -> None:
    found = bifurcation(feedback, torch.linspace(1.5, 5.0, 1000))
    assert found.up.orbit.shape == found.down.orbit.shape == (200, 1000)


def test_the_diagram_shows_flip_doubling_chaos_and_lock_where_they_are() -> None:
    found = bifurcation(feedback, torch.linspace(1.5, 5.0, 701), settle=2000)
    for sweep in (found.up, found.down):
        still = found.values[sweep.period == 1]
        two = found.values[sweep.period == 2]
        chaotic = found.values[sweep.exponent > 0.02]
        assert 1.99 <= still.max() <= 2.001 and 2.0 <= two.min() <= 2.02
        assert 3.26 < chaotic.min() < 3.32 and 4.44 < chaotic.max() < 4.48
        assert (sweep.period[found.values > 4.5] == 3).all()
        rest = sweep.orbit[:, found.values < 1.95]
        assert torch.allclose(rest, torch.full_like(rest, math.log(0.65 / 0.35)), atol=1e-6)
    assert 0.36 < found.up.exponent.max() < 0.45


def test_two_attractors_show_as_a_difference_between_up_and_down() -> None:
    def cubic(
        x: Tensor, a: Tensor
    ) -> Tensor:  # pitchfork with a bias: two stable branches around a = 0
        return x + 0.1 * (a + x - x**3)

    found = bifurcation(cubic, torch.linspace(-1, 1, 201), -1.0, follow=20)
    middle = 100
    assert found.up.orbit[-1, middle] == pytest.approx(-1.0, abs=1e-3)
    assert found.down.orbit[-1, middle] == pytest.approx(1.0, abs=1e-3)


def test_states_of_several_numbers_are_observed_as_asked() -> None:
    def rotate(x: Tensor, a: Tensor) -> Tensor:
        return torch.stack([-x[:, 1], x[:, 0]], 1) * 1.0 + 0 * a[:, None]

    found = bifurcation(
        rotate, [0.0, 1.0], torch.tensor([1.0, 0.0]), observe=lambda x: x[:, 1], kick=0.0
    )
    assert found.up.period.tolist() == [4, 4]
    assert found.up.exponent.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
