"""A recorded program is its plain loop, for programs that nobody wrote; `campaigns/programs.py`
tries thousands."""

import collections
import functools
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


def test_random_networks_that_are_computed_again_are_their_plain_loops() -> None:
    """In parts of samples or of time."""
    run = functools.partial(snn.run, memory="checkpoint")
    verdicts = [check(seed, snn.layerwise, "step", run) for seed in range(4000, 4000 + EACH)]
    words = collections.Counter(v.word for v in verdicts)
    assert not [v for v in verdicts if v.word == "different"]
    assert words["loop fails"] <= 0.25 * EACH and words["refused"] <= 0.1 * EACH, words


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
    verdicts = [check_padded(seed) for seed in range(4000, 4000 + EACH)]
    words = {verdict.word for verdict in verdicts}
    assert words == {"equal"}, [v for v in verdicts if v.word != "equal"]


PARTS = {  # networks that do not run layer by layer, or not to the end
    "the last spikes of a neuron in parts": 4007,
    "the last spikes after the recording has stopped": 20085,
    "steps of a neuron whose states are needed at once": 20271,
}


@pytest.mark.parametrize("lost", PARTS)
def test_what_padded_recordings_lost_in_a_network_that_runs_in_parts(lost: str) -> None:
    verdict = check_padded(PARTS[lost])
    assert verdict.word == "equal", verdict


@pytest.mark.parametrize("kind", [snn.PSN, snn.MaskedPSN])
def test_neurons_that_run_whole_sequences_are_refused_in_a_loop_over_time(kind: type) -> None:
    net = nn.Sequential(nn.Linear(3, 4), kind(**kind.example))  # pyright: ignore

    def loop(x: Tensor) -> Tensor:
        return torch.stack([net(x_t) for x_t in x])

    x = torch.rand(6, 2, 3)
    for way in (loop, snn.layerwise(loop)):
        with pytest.raises(ValueError, match=r"one time step|whole sequence"):
            way(x)
