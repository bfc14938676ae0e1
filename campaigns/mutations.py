"""Random mutations of the library: a mutation that no test near it notices shows what is untested.

    python campaigns/mutations.py --out folder --number 30 [--files running/ core/checks.py]

Each trial changes one place of one file in a copy of the repository: a comparison is flipped, + and
- or and and or are exchanged, a number is moved by one, ``not`` is removed, a condition is negated,
a flag is flipped, or a function returns None. Messages (f-strings, what is raised), annotations,
what only editors read (``if TYPE_CHECKING``) and ``zip(strict=True)``, a check of equal lengths,
are left alone. Then the recorded API, the examples of the file, the test files that name most of
what the file defines and those of its part of the library are run until one fails that passes in
the unchanged copy. Survivors are printed with the line as it was and as it became.
Some change nothing that can be observed, such as a limit of a cache; read them.
"""

import ast
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numba  # noqa: F401  (imported before the fork: each trial saves the time)
import pytest
import torch  # noqa: F401
from journal import Journal, options, trials

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("src") / "spikeloom"
NEAREST = 4  # test files
API = "tests/test_public_api.py"  # near every file: it knows all default values
APART = tuple(  # tests of text, of scripts beside the library, and those that are always run
    f"test_{name}"
    for name in (
        "architecture",
        "benchmarks",
        "campaign",
        "docs",
        "doctests",
        "public_api",
        "repository",
        "site",
        "tutorials",
        "typed_face",
    )
)
LAWS = {  # near the whole of a part, whatever names its files define
    "core": ("neurons", "programs", "surrogates", "compile"),
    "kernels": ("numba", "programs"),
    "neurons": ("neurons", "programs"),
    "running": ("run", "run_images"),
}
KIN = {  # parts whose test files have other words in their names than that of the part
    "core": ("errors", "lengths", "parameters", "stateful", "wrong_calls"),
    "hardware": ("c_export", "quantized"),
    "kernels": ("events", "kernel"),
    "layers": ("events", "layers"),
    "learning": (
        "backprop",
        "bp_stdp",
        "diehl_cook",
        "eventprop",
        "learning",
        "online",
        "spikeprop",
        "stbp",
        "stdp",
        "train_rules",
    ),
    "neurons": ("deviations", "neurons", "recorded_neurons"),
    "running": ("layerwise", "lengths"),
    "train": ("notebook", "runs", "train"),
}
EXAMPLES = "tests/test_doctests.py"
CPU_LIMIT_S = 150  # of processor time: a loaded machine changes nothing
WALL_LIMIT_S = 1200.0
FORKED = multiprocessing.get_context("fork")
NOTHING_SELECTED = 5  # exit code of pytest where all tests of a file are slow
SKIPPED = (
    "spikeplot",
    "doctor/report",
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
ANNOTATIONS = ("annotation", "returns")
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

    nodes = observable(ast.parse(source))
    return [Mutation(*parts) for node in nodes for parts in of(node, at, text)]


def observable(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below one whose change a test may be expected to notice."""
    yield node
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (name in ANNOTATIONS or is_text(child)):
                yield from observable(child)


def is_text(node: ast.AST) -> bool:
    """Whether a node is a message, code that only editors read, or ``zip(strict=True)``."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.keyword):
        return node.arg == "strict"
    return isinstance(node, (ast.JoinedStr, ast.Raise))


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
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "flag", *at(node), repr(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield "number", *at(node), repr(node.value + 1)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "condition", *at(node.test), f"(not ({text(node.test)}))"
    elif isinstance(node, ast.Return) and node.value is not None and not is_word(node.value):
        yield "return", *at(node.value), "None"


def is_word(node: ast.expr) -> bool:
    """Whether an expression is None, True or False."""
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def nearest(file: Path, text: str, tests: dict[str, str]) -> list[str]:
    """The examples of a file, test files that name most of what its text defines, and all test
    files of its part of the library.

    A name counts for more the fewer test files it appears in.
    """
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = {
        node.name.lstrip("_")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, kinds) and not node.name.startswith("__")
    }
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    found = dict.fromkeys(tests, 0.0)
    for word in {*names, file.stem, file.parent.name, module}:
        apart = rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"  # also within test_a_name_of_words
        having = [test for test in tests if re.search(apart, tests[test])]
        for test in having:
            found[test] += 1 / len(having)
    for test in tests:
        stem = Path(test).stem
        found[test] += (file.stem in stem) + 0.1 * (file.parent.name in test)
    ranked = sorted(tests, key=lambda test: found[test], reverse=True)
    examples = f"{EXAMPLES}::test_examples_in_docstrings_run[{module}]"
    part = file.relative_to(PACKAGE).parts[0]
    laws = [f"tests/laws/test_{law}.py" for law in LAWS.get(part, ())]
    words = tuple(f"test_{word}" for word in KIN.get(part, (part,)))
    kin = [test for test in ranked if Path(test).stem.startswith(words)]
    return list(dict.fromkeys([examples, *ranked[:NEAREST], *laws, API, *kin]))


def copied(folder: Path) -> Path:
    """A copy of the repository in which mutations are applied."""
    copy = folder / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


def failing(copy: Path, tests: Sequence[str], without: Sequence[str] = ()) -> str | None:
    """The first test that fails, or None.

    Raises:
        TimeoutError: the tests take longer than the limit.
    """
    left_out = [word for test in without for word in ("--deselect", test)]
    chosen = [test for test in tests if test not in without]  # a file that cannot be collected
    log, first = copy.parent / "tests.log", copy.parent / "first.txt"
    first.unlink(missing_ok=True)
    process = FORKED.Process(target=run_tests, args=(copy, [*left_out, *chosen], log, first))
    process.start()
    process.join(WALL_LIMIT_S)
    if process.is_alive() or process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL):
        if process.is_alive() and process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL)
        raise TimeoutError(f"the tests of {copy} run for longer than {CPU_LIMIT_S} s")
    if process.exitcode in (0, NOTHING_SELECTED):
        return None
    return first.read_text(encoding="utf-8") if first.exists() else chosen[0]


class First:
    """Plugin of pytest that writes the id of the first test that fails.

    The summary that pytest prints does not show where an id with spaces and brackets ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report)

    def note(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.failed and not self.path.exists():
            self.path.write_text(report.nodeid, encoding="utf-8")


def run_tests(copy: Path, words: list[str], log: Path, first: Path) -> None:
    """Run pytest in a process of its own, forked from one that has imported what is slow."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(copy)
    source = str(copy / "src")
    os.environ.update(PYTHONPATH=source, PYTHONDONTWRITEBYTECODE="1")
    sys.path[:0] = [source]
    sys.dont_write_bytecode = True
    options = ("-q", "-x", "-m", "not slow", "-p", "no:cacheprovider")
    code = pytest.main([*options, *words], plugins=[First(first)])
    sys.stdout.flush()
    os._exit(int(code))


class Trials:
    """Applies mutations to a copy of the repository and runs the tests near them.

    Args:
        folder: where the copy is made.
    """

    def __init__(self, folder: Path) -> None:
        self.copy = copied(folder)
        self.texts = {
            str(p.relative_to(ROOT)): p.read_text(encoding="utf-8")
            for p in sorted((ROOT / "tests").rglob("test_*.py"))
            if not p.stem.startswith(APART)
        }
        self.sound: set[str] = set()
        self.unsound: list[str] = []

    def noticed(self, file: Path, source: str, changed: str) -> str | None:
        """The test near a file that fails only where the file is changed, or None."""
        tests = nearest(file, source, self.texts)
        while True:
            self.write(file, changed)
            try:
                found = failing(self.copy, tests, self.unsound)
            finally:
                self.write(file, source)
            if found is None or found in self.sound:
                return found
            if failing(self.copy, [found]) is None:
                self.sound.add(found)
                return found
            print(f"{found} fails in the unchanged copy", flush=True)
            if found in self.unsound:
                raise RuntimeError(f"{found} fails although it is left out")
            self.unsound.append(found)

    def write(self, file: Path, text: str) -> None:
        (self.copy / file).write_text(text, encoding="utf-8")

    def run(self, file: Path, places: list[Mutation], chosen: random.Random) -> dict[str, Any]:
        """Apply one mutation and return whether the tests near it notice."""
        source = (self.copy / file).read_text(encoding="utf-8")
        mutation = chosen.choice(places)
        raw = source.encode()
        changed = (raw[: mutation.start] + mutation.text.encode() + raw[mutation.end :]).decode()
        number = raw[: mutation.start].count(b"\n")
        before, after = source.splitlines()[number].strip(), changed.splitlines()[number].strip()
        try:
            by = self.noticed(file, source, changed)
            end = "survived" if by is None else "noticed"
        except TimeoutError:
            by, end = None, "hung"
        print(f"{end:<9} {mutation.kind:<11} {file}:{number + 1}", flush=True)
        wrong = f"{file}:{number + 1}: {before!r} -> {after!r}" if end == "survived" else None
        return {
            "kind": mutation.kind,
            "file": str(file),
            "line": number + 1,
            "end": end,
            "by": by,
            "before": before,
            "after": after,
            "wrong": wrong,
        }


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
    places = {p: mutations((ROOT / p).read_text(encoding="utf-8")) for p in files}
    weights = [len(places[p]) for p in files]
    journal = Journal(settings.out)
    mutated = Trials(settings.out)
    for trial, chosen in trials(journal, settings.number, settings.seed):
        file = chosen.choices(files, weights)[0]
        journal.add(trial=trial, **mutated.run(file, places[file], chosen))
    print(journal)
    ends = Counter(row["end"] for row in journal.rows)
    print(
        f"{len(journal.rows)} mutations: {ends['noticed']} noticed, {ends['hung']} hung until the "
        f"limit, {ends['survived']} survived"
    )
    return journal.code


if __name__ == "__main__":
    sys.exit(main())
