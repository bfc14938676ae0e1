"""Every public name of snnTorch 1.0.0 exists with its positional arguments and defaults.

`recorded/signatures.json` holds them. What a name takes beyond snnTorch is keyword-only or comes
after.
"""

import inspect
import json
from typing import Any

import pytest
import torch
from recorded.replay import HERE, resolve

import spikeloom

DEFINITIONS = [
    (path, definition)
    for definition in json.loads((HERE / "signatures.json").read_text())["definitions"]
    for path in definition["paths"]
]
INTERNAL = {"forward", "backward"}  # of autograd functions


def positional(function: Any) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]


def same_default(found: Any, source: str) -> bool:
    try:
        wanted = eval(source, {"torch": torch})
    except (NameError, SyntaxError, AttributeError):
        return callable(found)  # a function of the module
    return callable(found) if callable(wanted) else found == wanted


def check(path: str, function: Any, recorded: list[list[str]], skip: int = 0) -> None:
    found = positional(function)[skip:]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in found):
        return  # states by position or name: `Neuron.forward` and the passing on of arguments
    wanted = [p for p in recorded if not p[0].startswith("*")]
    assert [p.name for p in found[: len(wanted)]] == [p[0] for p in wanted], path
    for parameter, known in zip(found, wanted, strict=False):
        if len(known) == 2:
            assert same_default(parameter.default, known[1]), (
                f"{path}: {parameter} should be {known[1]}"
            )
    assert all(p.default is not p.empty for p in found[len(wanted) :]), (
        f"{path}: further arguments are optional"
    )


@pytest.mark.parametrize(("path", "definition"), DEFINITIONS, ids=[path for path, _ in DEFINITIONS])
def test_a_name_takes_the_recorded_arguments(path: str, definition: dict[str, Any]) -> None:
    found = resolve(spikeloom, path)
    if definition["parameters"] is not None:
        check(path, found, definition["parameters"])


@pytest.mark.parametrize(("path", "definition"), DEFINITIONS, ids=[path for path, _ in DEFINITIONS])
def test_a_class_has_the_recorded_methods(path: str, definition: dict[str, Any]) -> None:
    found = resolve(spikeloom, path)
    missing = [
        name
        for name in definition.get("methods", {})
        if not hasattr(found, name) and name not in INTERNAL
    ]
    assert not missing, f"{path} lacks {missing}"
