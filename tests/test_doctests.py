"""Examples in docstrings: every one runs, and every public object has one."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest
import torch
from test_public_api import faces

import spikeloom as snn

SOURCE = Path(snn.__file__).parent
FILES = sorted(file for file in SOURCE.rglob("*.py") if file.name != "__main__.py")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_name(file: Path) -> str:
    """Dotted name of a file of the package."""
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_objects() -> dict[str, object]:
    """Classes and functions of ours that the package and its faces list in ``__all__``, under the
    name they are met."""
    met: dict[object, str] = {}
    for face in faces():
        for name in getattr(face, "__all__", []):
            found = getattr(face, name)
            if (
                inspect.isclass(found) or inspect.isfunction(found)
            ) and found.__module__.startswith("spikeloom"):
                met.setdefault(found, f"{found.__module__}.{name}")
    return {name: found for found, name in met.items()}


def has_example(found: object) -> bool:
    """An object has an example in its own docstring; a class may have it in one of its methods
    instead."""
    members = vars(found).values() if inspect.isclass(found) else ()
    return any(
        ">>>" in (getattr(documented, "__doc__", None) or "") for documented in (found, *members)
    )


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_examples_in_docstrings_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ">>>" not in file.read_text(encoding="utf-8"):
        return
    module = importlib.import_module(module_name(file))
    monkeypatch.chdir(tmp_path)
    runner, report = doctest.DocTestRunner(optionflags=FLAGS), []
    for example in doctest.DocTestFinder().find(module, extraglobs={"snn": snn, "torch": torch}):
        torch.manual_seed(0)
        runner.run(example, out=report.append)
    assert runner.tries > 0, f"{file.name} has examples that doctest does not find"
    if runner.failures:
        pytest.fail("".join(report), pytrace=False)


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_every_module_says_what_it_is(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert not source.strip() or ast.get_docstring(ast.parse(source)), (
        f"{module_name(file)} has no docstring"
    )


def test_every_public_object_says_what_it_is() -> None:
    silent = [  # a dataclass or named tuple without docstring gets its signature as one
        path
        for path, found in public_objects().items()
        if not found.__doc__ or found.__doc__.startswith(f"{path.rpartition('.')[2]}(")
    ]
    assert not silent, "no docstring: " + ", ".join(silent)


def test_every_public_object_has_an_example() -> None:
    missing = [path for path, found in public_objects().items() if not has_example(found)]
    assert not missing, "no >>> example in the docstring: " + ", ".join(missing)
