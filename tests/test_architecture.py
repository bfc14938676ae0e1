"""The floors of the package: which part may import which, read from the source of every file.

A part is a file or folder of `spikeloom`. It imports parts on lower floors, itself, and what
`EDGES` lists. A new part needs a line in `FLOOR`; a new import between parts of one floor needs a
line in `EDGES`, and a reason.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "spikeloom"
FILES = sorted(SOURCE.rglob("*.py"))

# The longest matching name counts. "" is the package itself: its face, which may name everything.
FLOOR = {
    "files": 0,
    "core.checks": 0,
    "core.reset": 0,
    "core.surrogate": 0,
    "core.curves": 0,
    "core.densities": 0,
    "core.numbers": 0,
    "surrogate": 0,
    "core": 1,
    "neurons": 2,
    "layers": 2,
    "_neurons": 3,  # snnTorch's module names
    "_layers": 3,
    "kernels": 2,
    "functional": 3,
    "spikegen": 3,
    "decode": 3,
    "utils": 3,
    "backprop": 3,
    "running": 3,
    "learning.hebbian": 2,  # below `functional`, where snnTorch keeps its STDP learner
    "learning.registry": 2,
    "learning.stdp": 2,
    "learning": 3,
    "blocks": 3,
    "conversion": 3,
    "chaos": 3,
    "nir": 3,
    "export_nir": 3,
    "import_nir": 3,
    "doctor": 3,
    "data": 4,
    "hardware": 4,
    "export": 4,
    "spikevision": 4,
    "spikeplot": 4,
    "saving": 4,
    "train": 4,
    "n3ml": 4,
    "cli": 4,
    "__main__": 4,
    "": 5,
}

# Imports between different parts of one floor.
EDGES = {
    ("core.curves", "core.surrogate"),  # a curve is a surrogate
    ("core.surrogate", "core.checks"),  # the fast path of a step, where torch alone computes
    ("core.reset", "core.checks"),
    ("core.curves", "core.densities"),
    ("core.densities", "core.surrogate"),
    ("core.curves", "core.numbers"),
    ("core.densities", "core.numbers"),
    ("surrogate", "core.densities"),
    ("surrogate", "core.curves"),
    ("surrogate", "core.surrogate"),
    ("layers", "kernels"),  # a spike-aware layer is a module around its operator
    ("functional", "decode"),  # losses read spike counts and first spikes
    ("learning", "running"),  # a rule shows a network a sequence
    ("learning.stdp", "learning.hebbian"),
    ("learning.stdp", "learning.registry"),
    ("learning.stdp", "kernels"),  # a rule is traced, and printed as scalar arithmetic
    ("learning", "functional"),  # a rule of `fit` knows its loss
    ("nir", "running"),  # both read a network as the graph of its modules
    ("doctor", "decode"),
    ("backprop", "functional"),  # truncated BPTT takes a loss
    ("backprop", "running"),
    ("chaos", "running"),  # a batch is run to measure how strongly a layer feeds back
    ("conversion", "functional"),  # operations are spikes times fan-out
    ("conversion", "running"),  # a converted network is run to compare rates
    ("doctor", "functional"),
    ("doctor", "learning"),  # gradients of the rules are compared
    ("doctor", "running"),
    ("export_nir", "nir"),
    ("import_nir", "nir"),
    ("export", "hardware"),
    ("spikevision", "data"),
    ("train", "data"),
    ("train", "saving"),  # the ordinary network of a conversion carries its architecture
    ("train", "spikeplot"),  # run cards come with pictures
    ("cli", "data"),
    ("cli", "train"),
    ("cli", "saving"),  # a finished run is opened
    ("cli", "hardware"),  # a trained network is written as C
    ("cli", "spikevision"),  # its readers of event files
    ("n3ml", "data"),
    ("n3ml", "spikeplot"),  # its picture of the weights
    ("n3ml", "train"),
    ("__main__", "cli"),
}

# torch requires typing_extensions
AT_HOME = {"torch", "numpy", "typing_extensions", *sys.stdlib_module_names}

# Optional packages: module -> the extra that installs it ("" comes with torch).
EXTRA = {
    "numba": "cpu",
    "llvmlite": "cpu",  # comes with numba
    "matplotlib": "viz",
    "tqdm": "viz",
    "h5py": "data",
    "PIL": "data",
    "neurobench": "bench",
    "nir": "nir",
    "tonic": "events",
    "tensorboard": "log",
    "triton": "",
}


# Modules that are of no use without an extra; other modules import them where they use them.
FOR_AN_EXTRA = {"kernels.vectors": "cpu"}


class Import(NamedTuple):
    """One import statement: the dotted module, its line, and whether importing the file executes
    it."""

    module: str
    line: int
    at_import: bool


def dotted(file: Path) -> str:
    """Module of a file below the package: ``core.checks``; ``neurons`` for its ``__init__``; "" for
    the package."""
    return (
        ".".join(file.relative_to(SOURCE).with_suffix("").parts)
        .removesuffix("__init__")
        .removesuffix(".")
    )


def part(module: str) -> str | None:
    """Longest name in `FLOOR` that contains the module; None if only the package itself does."""
    while module:
        if module in FLOOR:
            return module
        module = module.rpartition(".")[0]
    return None


def named(call: ast.Call) -> str | None:
    """Module that `require("x")`, `import_module("x")` or `__import__("x")` names."""
    function = (
        call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    )
    first = call.args[0] if call.args else None
    if function in {"require", "import_module", "__import__"} and isinstance(first, ast.Constant):
        return str(first.value)
    return None


def absolute(name: str, level: int, package: list[str]) -> str:
    """Full dotted name of a possibly relative import."""
    if level == 0:
        return name
    return ".".join(["spikeloom", *package[: len(package) - level + 1], *filter(None, [name])])


def from_names(node: ast.ImportFrom, package: list[str]) -> list[str]:
    """Modules that a ``from`` import reaches: ``from . import a`` may name a module, or something
    inside one."""
    base = absolute(node.module or "", node.level, package)
    inside = base.removeprefix("spikeloom").removeprefix(".").replace(".", "/")
    if not base.startswith("spikeloom"):
        return [base]
    names = []
    for alias in node.names:
        below = SOURCE / inside / alias.name
        is_module = below.with_suffix(".py").exists() or below.is_dir()
        names.append(f"{base}.{alias.name}" if is_module else base)
    return names


def imports(file: Path, source: str | None = None) -> Iterator[Import]:
    """Every import of a file (or of ``source`` in its place), wherever it stands and however it is
    written."""
    package = dotted(file).split(".") if dotted(file) else []
    if file.name != "__init__.py":
        package = package[:-1]

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from (
                    Import(name, child.lineno, at_import) for name in from_names(child, package)
                )
            elif isinstance(child, ast.Call) and (name := named(child)):
                level = len(name) - len(name.lstrip("."))
                yield Import(absolute(name[level:], level, package), child.lineno, at_import)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from walk(child, at_import and not inside and not typing_only)

    yield from walk(ast.parse(file.read_text(encoding="utf-8") if source is None else source), True)


def complaint(file: Path, found: Import) -> str | None:
    """Why an import breaks the rules; None if it keeps them."""
    here, where = part(dotted(file)) or "", f"src/spikeloom/{file.relative_to(SOURCE)}:{found.line}"
    top = found.module.partition(".")[0]
    if top != "spikeloom":
        if top in AT_HOME:
            return None
        if top not in EXTRA:
            return (
                f"{where}: {top} is no dependency; torch and numpy are, the extras in EXTRA "
                "are optional"
            )
        if found.at_import and FOR_AN_EXTRA.get(dotted(file)) != EXTRA[top]:
            return (
                f"{where}: {top} is optional; import it inside the function that needs it: "
                f"require({top!r}, ...)"
            )
        return None
    module = found.module.removeprefix("spikeloom").removeprefix(".")
    if found.at_import and module in FOR_AN_EXTRA:
        return f"{where}: {module} needs an extra; import it inside the function that needs it"
    there = part(module) or ""
    if here == there or (here, there) in EDGES or FLOOR[there] < FLOOR[here]:
        return None
    if there == "":
        return (
            f"{where}: imports the package's face; import the module that defines the name: "
            "from ..core.x import y"
        )
    if here == "" or FLOOR[there] > FLOOR[here]:
        return (
            f"{where}: {here} (floor {FLOOR[here]}) imports upwards: {there} (floor {FLOOR[there]})"
        )
    return (
        f"{where}: {here} and {there} share floor {FLOOR[here]}; add the edge to EDGES only "
        "with a good reason"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_every_file_stands_on_a_floor(file: Path) -> None:
    name = dotted(file)
    assert name == "" or part(name), (
        f"{name} has no floor; add its part to FLOOR in {Path(__file__).name}"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_an_error_names_the_extra_that_installs_what_is_missing(file: Path) -> None:
    for call in (
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ):
        module, extra = (
            named(call),
            next((k.value for k in call.keywords if k.arg == "extra"), None),
        )
        if module and isinstance(extra, ast.Constant):
            assert extra.value == EXTRA[module.partition(".")[0]], (
                f"{file.name}:{call.lineno}: wrong extra for {module}"
            )


def test_every_extra_is_declared() -> None:
    project = (SOURCE.parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert set(EXTRA.values()) - {""} <= set(re.findall(r"^(\w+) = ", extras, re.MULTILINE))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_go_down_or_along_a_listed_edge(file: Path) -> None:
    complaints = [text for found in imports(file) if (text := complaint(file, found))]
    assert not complaints, "\n".join(complaints)


def test_the_edges_stay_on_one_floor_and_have_no_cycle() -> None:
    for here, there in EDGES:
        assert FLOOR[here] == FLOOR[there], f"({here}, {there}) crosses floors and needs no edge"
    followers: dict[str, set[str]] = {}
    for here, there in EDGES:
        followers.setdefault(here, set()).add(there)
    while followers:
        leaves = [name for name, after in followers.items() if not after & followers.keys()]
        assert leaves, f"the edges go round in a circle: {sorted(followers)}"
        for name in leaves:
            del followers[name]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    reached = {name: set(after) for name, after in edges.items()}
    while True:
        grown = {
            n: after.union(*(reached.get(a, set()) for a in after)) for n, after in reached.items()
        }
        if grown == reached:
            break
        reached = grown
    groups = {
        tuple(sorted(other for other in after if name in reached.get(other, set())))
        for name, after in reached.items()
        if name in after
    }
    return [list(group) for group in sorted(groups)]


def inner_edges() -> dict[str, set[str]]:
    """The imports between the files of the package, wherever they stand in a file."""
    known = {dotted(file) for file in FILES}
    edges: dict[str, set[str]] = {}
    for file in FILES:
        ours = (found.module for found in imports(file) if found.module.startswith("spikeloom."))
        targets = {module.removeprefix("spikeloom.") for module in ours}
        edges[dotted(file)] = {name for name in targets if name in known} - {dotted(file)}
    return edges


def test_no_files_import_each_other_in_a_circle() -> None:
    found = circles(inner_edges())
    assert not found, "files import each other: " + "; ".join(", ".join(group) for group in found)


def test_a_circle_of_imports_inside_a_part_is_found() -> None:
    edges = {"a.x": {"a.y"}, "a.y": {"a.z"}, "a.z": {"a.x"}, "a.w": {"a.x"}, "b": set()}
    assert circles(edges) == [["a.x", "a.y", "a.z"]]


@pytest.mark.parametrize(
    ("file", "line", "answer"),
    [
        ("neurons/x.py", "from ..core.checks import require", None),
        ("neurons/x.py", "from ..core import checks", None),
        ("neurons/x.py", "from . import leaky", None),
        ("neurons/x.py", "from ..kernels import scan", "neurons and kernels share floor 2"),
        ("neurons/x.py", "def f():\n    from ..train import fit", "imports upwards: train"),
        ("neurons/x.py", "from .. import Leaky", "imports the package's face"),
        ("core/x.py", "import spikeloom as snn", "imports the package's face"),
        (
            "core/checks.py",
            "import importlib\nimportlib.import_module('spikeloom.neurons')",
            "imports upwards: neurons",
        ),
        (
            "data/x.py",
            "import h5py",
            "h5py is optional; import it inside the function",
        ),
        (
            "data/x.py",
            "h5py = require('h5py', extra='data', purpose='')",
            "h5py is optional",
        ),
        ("data/x.py", "def f():\n    require('h5py', extra='data', purpose='')", None),
        ("data/x.py", "if TYPE_CHECKING:\n    import h5py", None),
        ("data/x.py", "def f():\n    import pandas", "pandas is no dependency"),
        ("__init__.py", "from .neurons import Leaky", None),
    ],
)
def test_the_check_tells_allowed_imports_from_forbidden_ones(
    file: str, line: str, answer: str | None
) -> None:
    texts = [complaint(SOURCE / file, found) for found in imports(SOURCE / file, line)]
    assert (
        [text for text in texts if text] == []
        if answer is None
        else any(answer in str(text) for text in texts)
    )
