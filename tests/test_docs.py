"""The pages tell the truth: their Python blocks run, in order, and the names they link to exist."""

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spikeloom.train.rules import RULES, Rule, rules_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
NEEDS = re.compile(r"# needs: (\w+)\n")  # a block that is skipped without this package
LINK = re.compile(r"\]\(([^)#:]+)\)")
TEST = re.compile(r"`(test_\w+)`")


def pages_to_run() -> list[Any]:
    """All pages; the one on spike times trains for long."""
    slow = pytest.mark.slow
    return [
        pytest.param(page, id=page.name, marks=[slow] if page.name == "spike_times.md" else [])
        for page in PAGES
    ]


@pytest.fixture(autouse=True)
def rules_of_pages() -> Iterator[None]:
    """Pages define rules, whose names leave the table afterwards."""
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


@pytest.mark.parametrize("page", pages_to_run())
def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = BLOCK.findall(page.read_text())
    if not blocks:
        pytest.skip("no Python on this page")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        if not NEEDS.match(block):
            exec(compile(block, str(page), "exec"), scope)


def blocks_with_needs() -> list[Any]:
    """Blocks that begin with ``# needs: PACKAGE``, with the first block of their page."""
    found = [(page, BLOCK.findall(page.read_text())) for page in PAGES]
    return [
        pytest.param(needs[1], blocks[0], block, id=f"{page.name}-{needs[1]}")
        for page, blocks in found
        for block in blocks
        if (needs := NEEDS.match(block))
    ]


@pytest.mark.parametrize(("package", "first", "block"), blocks_with_needs())
@pytest.mark.filterwarnings("ignore")
def test_a_block_with_another_package_runs(
    package: str, first: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "page"}
    for text in (first, block):
        exec(compile(text, package, "exec"), scope)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing


def test_every_test_that_a_page_names_exists() -> None:
    source = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    defined = set(re.findall(r"^def (test_\w+)", source, re.M))
    named = {name for page in PAGES for name in TEST.findall(page.read_text())}
    assert not named - defined


def test_your_own_neuron_takes_about_twenty_lines() -> None:
    block = BLOCK.findall((ROOT / "docs" / "your_own_neuron.md").read_text())[0]
    body = block[block.index("class Adaptive") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20


def test_the_tables_of_rules_are_those_of_the_script_and_its_figures() -> None:
    spec = importlib.util.spec_from_file_location("rules", ROOT / "benchmarks" / "rules.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec.loader.exec_module(script)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    found = json.loads((ROOT / "docs" / "rules.json").read_text())
    page = (ROOT / "docs" / "rules.md").read_text()
    begin, end = script.MARKS
    assert page.partition(begin)[2].partition(end)[0].strip() == script.render(found)
    missing = rules_of(Rule).keys() - {name.partition(" ")[0] for name in found["rows"]}
    assert not missing, (
        "run benchmarks/rules.py, which trains by the rules that the page does not have yet: "
        f"{missing}"
    )
