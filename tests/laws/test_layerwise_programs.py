"""A recorded program is its plain loop, for programs that nobody wrote; `campaigns/programs.py`
tries thousands."""

import collections
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import spikeloom as snn

from .programs.padded import check_padded
from .programs.verdict import check
from .programs.writer import write

EACH = 14


@pytest.mark.parametrize(
    ("style", "first"), [("class", 0), ("class", 1000), ("function", 2000), ("step", 3000)]
)
def test_random_programs_are_their_plain_loops(style: str, first: int) -> None:
    verdicts = [check(seed, snn.layerwise, style) for seed in range(first, first + EACH)]
    words = collections.Counter(verdict.word for verdict in verdicts)
    assert not words["different"], [v for v in verdicts if v.word == "different"]
    assert words["refused"] <= 0.15 * EACH, [v for v in verdicts if v.word == "refused"]
    assert words["loop fails"] <= 0.25 * EACH, words  # otherwise the generator compares too little


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(10**6, 10**9))
def test_programs_that_hypothesis_chooses_are_their_plain_loops(seed: int) -> None:
    verdict = check(seed, snn.layerwise)
    assert verdict.word != "different", verdict


def test_a_seed_gives_the_same_program_at_every_call() -> None:
    assert all(write(seed) == write(seed) for seed in range(50))


def test_the_comparison_notices_an_input_that_is_one_percent_off() -> None:
    def scaled(target: Any) -> Any:
        return lambda *args: target(*args[:-1], args[-1] * 1.01)

    words = collections.Counter(check(seed, scaled, "class").word for seed in range(12))
    assert words["different"] >= 9, words


def test_random_networks_on_padded_recordings_are_those_on_each_recording_alone() -> None:
    verdicts = [check_padded(seed) for seed in range(4000, 4000 + 2 * EACH)]
    assert {verdict.word for verdict in verdicts} == {"equal"}, [
        v for v in verdicts if v.word != "equal"
    ]


@pytest.mark.parametrize("kind", [snn.PSN, snn.MaskedPSN])
def test_neurons_that_run_whole_sequences_are_refused_in_a_loop_over_time(kind: type) -> None:
    net = nn.Sequential(nn.Linear(3, 4), kind(**kind.example))  # pyright: ignore

    def loop(x: Tensor) -> Tensor:
        return torch.stack([net(x_t) for x_t in x])

    x = torch.rand(6, 2, 3)
    for way in (loop, snn.layerwise(loop)):
        with pytest.raises(ValueError, match=r"one time step|whole sequence"):
            way(x)
