"""Surrogates, encoders, losses, accuracies, regularisers, quantiser and data set helpers against
snnTorch 1.0.0.

Numbers and gradients come from `recorded/surface.npz`. What snnTorch does
wrong is not recorded; the right values stand in the tests of the functions, named after the defect.
"""

import importlib

import pytest
import torch
from recorded.replay import load, replay_call

import spikeloom

INDEX, ARRAYS = load("surface")
SCENARIOS = {"subset", "validation_split"}
FACES = ("spikegen.", "functional.", "utils.", "surrogate.")
CASES = [
    case
    for case in INDEX["cases"]
    if case["call"] in SCENARIOS or (case["call"].startswith(FACES) and "stdp" not in case["call"])
]


@pytest.mark.filterwarnings("ignore:.* intensities are below 0")  # those of the case "gain" are
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_calls_give_the_recorded_numbers(case: dict) -> None:
    outputs, grads = replay_call(spikeloom, case, ARRAYS)
    for output, key in zip(outputs, case["expect"], strict=True):
        torch.testing.assert_close(output, torch.from_numpy(ARRAYS[key]), rtol=1e-5, atol=1e-6)
    for position, key in case["grads"].items():
        torch.testing.assert_close(
            grads[position], torch.from_numpy(ARRAYS[key]), rtol=1e-5, atol=1e-6
        )


def test_submodules_are_where_snntorch_has_them():
    for name in ("acc", "loss", "reg", "quant", "probe"):
        assert importlib.import_module(f"spikeloom.functional.{name}").__all__
