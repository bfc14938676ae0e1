"""Encoders, losses, accuracies, regularisers, quantiser and data set helpers against snnTorch 1.0.0.

Numbers and gradients come from `recorded/surface.npz`, signatures from `recorded/signatures.json`. What snnTorch does
wrong is not recorded; the right values stand in the tests of the functions, named after the defect.
"""

import importlib
import inspect
import json

import pytest
import torch
from recorded.replay import HERE, load, replay_call, resolve

import spikeloom

INDEX, ARRAYS = load("surface")
SCENARIOS = {"subset", "validation_split"}
FACES = ("spikegen.", "functional.", "utils.")
CASES = [
    case
    for case in INDEX["cases"]
    if case["call"] in SCENARIOS or (case["call"].startswith(FACES) and "stdp" not in case["call"])
]
DEFINITIONS = [
    (path, definition)
    for definition in json.loads((HERE / "signatures.json").read_text())["definitions"]
    for path in definition["paths"]
    if path.startswith(FACES) and "stdp" not in path
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_calls_give_the_recorded_numbers(case: dict) -> None:
    outputs, grads = replay_call(spikeloom, case, ARRAYS)
    for output, key in zip(outputs, case["expect"], strict=True):
        torch.testing.assert_close(output, torch.from_numpy(ARRAYS[key]), rtol=1e-5, atol=1e-6)
    for position, key in case["grads"].items():
        torch.testing.assert_close(grads[position], torch.from_numpy(ARRAYS[key]), rtol=1e-5, atol=1e-6)


def parameters(function: object) -> list[list[str]]:
    """Positional parameters as the recording writes them, functions as defaults left open."""
    known = [p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return [[p.name] if p.default is p.empty else [p.name, open_default(repr(p.default))] for p in known]


def open_default(source: str) -> str:
    return "a function" if "function" in source or "lambda" in source else source


@pytest.mark.parametrize(("path", "definition"), DEFINITIONS, ids=[path for path, _ in DEFINITIONS])
def test_names_have_the_recorded_positional_arguments(path: str, definition: dict) -> None:
    found = resolve(spikeloom, path)
    if definition["parameters"] is not None:
        wanted = [[p[0], *map(open_default, p[1:])] for p in definition["parameters"]]
        assert parameters(found) == wanted
    if definition["parameters"] is None:
        return  # autograd functions are called through apply
    for method, wanted in definition.get("methods", {}).items():
        assert parameters(getattr(found, method))[1:] == wanted  # without self


def test_submodules_are_where_snntorch_has_them():
    for name in ("acc", "loss", "reg", "quant", "probe"):
        assert importlib.import_module(f"spikeloom.functional.{name}").__all__
