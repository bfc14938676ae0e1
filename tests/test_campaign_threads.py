"""Campaigns of threads, endurance and mutations at a small size: they find what is planted."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripts import run_script

CAMPAIGNS = Path(__file__).resolve().parent.parent / "campaigns"


def campaign(name: str, *words: object) -> tuple[int, str]:
    """Exit code of a campaign and what it prints."""
    return run_script(CAMPAIGNS / f"{name}.py", *words)


def test_networks_in_threads_compute_what_they_compute_alone(tmp_path: Path) -> None:
    code, printed = campaign("threads", "--out", tmp_path, "--number", 8)
    assert code == 0 and "8 trials, 0 wrong" in printed, printed
    assert "9 trials, 0 wrong" in campaign("threads", "--out", tmp_path, "--number", 9)[1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_endurance_prints_what_rises(tmp_path: Path) -> None:
    code, printed = campaign("endurance", "--out", tmp_path, "--number", 12, "--block", 12)
    assert code == 0 and "5 trials, 0 wrong" in printed, printed


def test_endurance_finds_memory_files_and_tables_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    endurance = __import__("endurance")
    flat = dict.fromkeys(("files", "threads", "neurons", *endurance.LIMITS), 0)
    rows = [{"kib": 1000.0, **flat} for _ in range(8)]
    assert endurance.judged(rows) == (pytest.approx(0.0, abs=1e-6), None)
    rising = [{**row, "kib": 1000.0 + 10 * endurance.BLOCK * n} for n, row in enumerate(rows)]
    assert "memory rises by 10.00" in endurance.judged(rising)[1]
    assert "files rose" in endurance.judged([*rows[:-1], {**rows[-1], "files": 1}])[1]
    assert "claimed holds 1" in endurance.judged([*rows[:-1], {**rows[-1], "claimed": 1}])[1]


def test_every_kind_of_mutation_is_made_and_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    mutations = __import__("mutations")
    source = (
        "def f(ä, b):\n    if not ä and b < 2:\n        return ä + b\n"
        "    return 'ö' if b else True\n"
    )
    found = mutations.mutations(source)
    kinds = {"comparison", "operator", "and/or", "not", "number", "flag", "condition", "return"}
    assert {mutation.kind for mutation in found} == kinds
    for mutation in found:
        raw = source.encode()
        changed = (raw[: mutation.start] + mutation.text.encode() + raw[mutation.end :]).decode()
        assert changed != source
        compile(changed, "<mutated>", "exec")


def test_messages_and_annotations_are_not_mutated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    mutations = __import__("mutations")
    source = (
        "def f(a: Literal[1] = 3) -> Literal[2]:\n    if TYPE_CHECKING:\n        b = 1\n"
        "    if a:\n        raise ValueError(f'{a + 1}', 2)\n"
        "    return list(zip(a, strict=True))\n"
    )
    assert [mutation.text for mutation in mutations.mutations(source)] == ["4", "(not (a))", "None"]


def test_the_id_of_a_failing_test_is_not_cut_off_at_a_bracket_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    first = __import__("mutations").First(tmp_path / "first.txt")
    whole = "tests/test_a.py::test_b[must be in \\\\[0, 1\\\\), got 1]"
    first.pytest_collectreport(SimpleNamespace(failed=False, nodeid="tests/test_a.py"))
    for failed, name in [(False, "tests/test_a.py::test_a"), (True, whole), (True, "later")]:
        first.pytest_runtest_logreport(SimpleNamespace(failed=failed, nodeid=name))
    assert first.path.read_text() == whole


@pytest.mark.slow
def test_a_mutation_of_a_tested_function_is_noticed(tmp_path: Path) -> None:
    """In a process of its own: the campaign forks, which threads of this one would not survive."""
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(CAMPAIGNS)!r})
import mutations
mutations.nearest = lambda *arguments: [Path("tests/test_threads.py")]
sys.exit(mutations.main())
"""
    words = ["--out", str(tmp_path), "--number", "1", "--files", "core/alone.py", "--seed", "4"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=1500
    )
    assert done.returncode in (0, 1), done.stderr
    assert "1 trials" in done.stdout and "1 mutations: " in done.stdout
