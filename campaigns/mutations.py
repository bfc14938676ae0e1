"""Random mutations of the library: a mutation that no test near it notices shows what is untested.

    python campaigns/mutations.py --out folder --number 30 [--files running/ core/checks.py]

Each trial changes one place of one file in a copy of the repository: a comparison is flipped, + and
- or and and or are exchanged, a number is moved by one, ``not`` is removed, a condition is negated,
or a function returns None. Then the recorded API and the test files that name most of what the file
defines are run until one fails. Survivors are printed with the line as it was and as it became.
Some change nothing that can be observed, such as a message or a limit of a cache; read them.
"""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from journal import Journal, options, trials

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("src") / "spikeloom"
NEAREST = 4  # test files
ALWAYS = Path("tests") / "test_public_api.py"  # near every file: it knows all default values
TIMEOUT_S = 240.0
SKIPPED = (
    "spikeplot",
    "n3ml",
    "kernels/triton",
    "_neurons",
    "_layers",
    "__main__",
)  # pictures and GPUs
COMPARISONS = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*"}


class Mutation(NamedTuple):
    """A stretch of a text and what to put in its place."""

    kind: str
    start: int
    end: int
    text: str


def mutations(source: str) -> list[Mutation]:
    """All places of a text that can be mutated."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def at(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[
            node.end_lineno - 1
        ] + node.end_col_offset

    def text(node: ast.expr) -> str:
        return raw[slice(*at(node))].decode()

    nodes = ast.walk(ast.parse(source))
    return [Mutation(*parts) for node in nodes for parts in of(node, at, text)]


def of(node: ast.AST, at: Any, text: Any) -> Iterator[tuple[str, int, int, str]]:
    """The mutations of one node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        new = COMPARISONS[type(node.ops[0])]
        yield "comparison", *at(node), f"{text(node.left)} {new} {text(node.comparators[0])}"
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield (
            "operator",
            *at(node),
            f"({text(node.left)}) {OPERATORS[type(node.op)]} ({text(node.right)})",
        )
    elif isinstance(node, ast.BoolOp):
        new = " or " if isinstance(node.op, ast.And) else " and "
        yield "and/or", *at(node), "(" + new.join(f"({text(value)})" for value in node.values) + ")"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", *at(node), f"({text(node.operand)})"
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "number", *at(node), repr(node.value + 1)
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "flag", *at(node), repr(not node.value)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "condition", *at(node.test), f"(not ({text(node.test)}))"
    elif isinstance(node, ast.Return) and node.value is not None and not is_none(node.value):
        yield "return", *at(node.value), "None"


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def nearest(file: Path, tests: dict[Path, str]) -> list[Path]:
    """Test files that name most of what a file defines."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, kinds) and not node.name.startswith("__")
    }
    words = [*(name.lstrip("_") for name in names), file.stem, file.parent.name]

    def score(test: Path) -> float:
        found = sum(bool(re.search(rf"\b{re.escape(word)}\b", tests[test])) for word in words)
        stem = 3 * (file.stem in test.stem) + (file.parent.name in test.stem)
        return found / len(words) + stem - len(tests[test]) / 1e6

    return [ALWAYS, *sorted(tests.keys() - {ALWAYS}, key=score, reverse=True)[:NEAREST]]


def copied(folder: Path) -> Path:
    """A copy of the repository in which mutations are applied."""
    copy = folder / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    for part in ("src", "tests", "campaigns"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def survives(copy: Path, tests: list[Path]) -> bool:
    """Whether the tests pass; a hang counts as noticed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        *map(str, tests),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy / "src"),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    parser = options(__doc__, 30)
    parser.add_argument(
        "--files", nargs="*", default=[""], help="only files whose path begins with one of these"
    )
    settings = parser.parse_args()
    package = ROOT / PACKAGE
    inside = [p.relative_to(ROOT) for p in sorted(package.rglob("*.py"))]
    chosen_by = tuple(str(PACKAGE / start) for start in settings.files)
    skipped = tuple(str(PACKAGE / start) for start in SKIPPED)
    files = [p for p in inside if str(p).startswith(chosen_by) and not str(p).startswith(skipped)]
    tests = {
        p.relative_to(ROOT): p.read_text(encoding="utf-8")
        for p in sorted((ROOT / "tests").rglob("test_*.py"))
    }
    places = {p: mutations((ROOT / p).read_text(encoding="utf-8")) for p in files}
    weights = [len(places[p]) for p in files]
    journal = Journal(settings.out)
    copy = copied(settings.out)
    for trial, chosen in trials(journal, settings.number, settings.seed):
        file = chosen.choices(files, weights)[0]
        journal.add(trial=trial, **tried(copy, file, places[file], tests, chosen))
    print(journal)
    dead = sum(row["wrong"] is None for row in journal.rows)
    print(f"{dead} of {len(journal.rows)} mutations noticed, {len(journal.rows) - dead} survived")
    return journal.code


def tried(
    copy: Path, file: Path, places: list[Mutation], tests: dict[Path, str], chosen: random.Random
) -> dict[str, Any]:
    """One mutation, and whether the tests near it notice."""
    source = (ROOT / file).read_text(encoding="utf-8")
    mutation = chosen.choice(places)
    raw = source.encode()
    changed = (raw[: mutation.start] + mutation.text.encode() + raw[mutation.end :]).decode()
    near = nearest(file, tests)
    (copy / file).write_text(changed, encoding="utf-8")
    try:
        alive = survives(copy, near)
    finally:
        (copy / file).write_text(source, encoding="utf-8")
    number = raw[: mutation.start].count(b"\n")
    before, after = source.splitlines()[number].strip(), changed.splitlines()[number].strip()
    wrong = (
        f"{file}:{number + 1}: {before!r} -> {after!r}; {', '.join(p.stem for p in near)}"
        if alive
        else None
    )
    print(
        f"{'survived' if alive else 'noticed':<9} {mutation.kind:<11} {file}:{number + 1}",
        flush=True,
    )
    return {
        "kind": mutation.kind,
        "file": str(file),
        "line": number + 1,
        "after": after,
        "wrong": wrong,
    }


if __name__ == "__main__":
    sys.exit(main())
