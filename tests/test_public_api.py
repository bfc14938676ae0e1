"""The public API, name by name and signature by signature, against `golden/api.txt`.

Public is what the package and its faces (the parts that are not `INNER`) list in ``__all__``. After
a change that is meant: `make api`, or `python -m tests.test_public_api`; the difference belongs
into the commit, and into CHANGELOG.md.
"""

import difflib
import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

import spikeloom

GOLDEN = Path(__file__).parent / "golden" / "api.txt"
INNER = {"core", "files", "neurons", "layers", "_neurons", "_layers", "kernels", "cli", "__main__"}


def signature(found: object) -> str:
    """Parameters with their kinds and defaults; no types, which differ in print between Python
    versions."""
    try:
        known = inspect.signature(found)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # torch.autograd.Function and other classes written in C
        return "(...)"
    bare = [
        p.replace(annotation=p.empty, default=shown(p.default)) for p in known.parameters.values()
    ]
    return str(known.replace(parameters=bare, return_annotation=known.empty))


class Shown:
    """A default value as the snapshot prints it: without addresses."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def shown(default: object) -> object:
    """Replace a function or class by its name, so that no memory address reaches the snapshot."""
    if default is inspect.Parameter.empty or default is None:
        return default
    name = getattr(default, "__qualname__", None)
    return Shown(name) if name else default


def members(path: str, found: type) -> Iterator[str]:
    """Public methods and properties that a class of ours defines itself; inherited ones stand with
    their class."""
    for name, member in sorted(vars(found).items()):
        member = getattr(member, "__func__", member)  # classmethod and staticmethod
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield f"{path}.{name}"
        elif isinstance(member, types.FunctionType):
            yield f"{path}.{name}{signature(member)}"


def faces() -> Iterator[types.ModuleType]:
    """The package and its public parts."""
    yield spikeloom
    for part in pkgutil.iter_modules(spikeloom.__path__, "spikeloom."):
        if part.name.partition(".")[2] not in INNER:
            yield importlib.import_module(part.name)


def public_api() -> list[str]:
    """One line for each public name; a class is followed by its members where it is met first."""
    lines, met = [], set()
    for face in faces():
        for name in sorted(getattr(face, "__all__", [])):
            found, path = getattr(face, name), f"{face.__name__}.{name}"
            if isinstance(found, types.ModuleType):
                lines.append(f"{path}: module")
            elif not callable(found):
                lines.append(f"{path}: {type(found).__name__}")
            else:
                lines.append(path + signature(found))
                if (
                    inspect.isclass(found)
                    and found not in met
                    and found.__module__.startswith("spikeloom")
                ):
                    lines.extend(members(path, found))
                    met.add(found)
    return lines


def test_the_public_api_is_the_recorded_one() -> None:
    recorded = GOLDEN.read_text(encoding="utf-8").splitlines()
    difference = list(
        difflib.unified_diff(recorded, public_api(), "recorded", "now", lineterm="", n=0)
    )
    assert not difference, "\n".join(
        ["the public API changed; if that is meant: make api", *difference[2:]]
    )


def test_every_public_name_exists_once_in_its_face() -> None:
    for face in faces():
        names = list(getattr(face, "__all__", []))
        assert len(names) == len(set(names)), f"{face.__name__}.__all__ lists a name twice"
        assert all(hasattr(face, name) for name in names), (
            f"{face.__name__}.__all__ lists a name that does not exist"
        )


def test_settings_or_results_could_be_changed_after_they_were_checked() -> None:
    every = [getattr(face, name) for face in faces() for name in getattr(face, "__all__", [])]
    classes = {found for found in every if isinstance(found, type) and is_dataclass(found)}
    changing = {found.__name__ for found in classes if not found.__dataclass_params__.frozen}
    assert len(classes) > 50 and changing == {"Plan"}  # written while a network runs


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("\n".join([*public_api(), ""]), encoding="utf-8")
    print(f"recorded {len(public_api())} public names in {GOLDEN}")
