"""A recorded program is its plain loop, for programs that nobody wrote; `campaigns/programs.py`
tries thousands."""

import collections
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spikeloom as snn

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
