"""The site: every public name and every page has its place, and notebooks need no other file.

`make docs` checks the built site: warnings, links, anchors, an entry for each member.
"""

import importlib.util
import inspect
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import spikeloom as snn

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "docs" / "site"
TUTORIALS = sorted(path.stem for path in (ROOT / "tutorials").glob("*.py") if path.stem != "common")
WORDS_IN_TWO_MINUTES = 440  # 220 a minute, which is slow for prose


def part(name: str) -> ModuleType:
    """A file of `docs/site`, imported under a name that hides no package."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def recorded() -> set[str]:
    """Public names of `golden/api.txt`; members of classes are with their class."""
    lines = (ROOT / "tests" / "golden" / "api.txt").read_text(encoding="utf-8").splitlines()
    return {re.split(r"[(:]", line)[0] for line in lines}


def test_a_public_name_without_a_page_is_an_orphan() -> None:
    reference = part("reference")
    entries = [entry for page in reference.entries().values() for entry in page]
    classes = {entry.path for entry in entries if inspect.isclass(entry.found)}
    orphans = {
        name
        for name in recorded() - reference.public_paths()
        if name.rpartition(".")[0] not in classes
    }
    assert not orphans, f"add them to a group in docs/site/reference.py: {sorted(orphans)}"


def test_a_new_part_or_a_new_name_of_the_package_is_not_hidden_by_its_module() -> None:
    reference = part("reference")
    paths = reference.public_paths()
    assert not {f"spikeloom.{name}" for name in snn.__all__} - paths
    everywhere = [entry.path for page in reference.entries().values() for entry in page]
    assert len(everywhere) == len(set(everywhere)), "a name is on two pages"


def test_every_page_is_in_the_sidebar_and_every_guide_exists() -> None:
    navigation, reference = part("navigation"), part("reference")
    shown = [page for pages in navigation.PARTS.values() for page in pages]
    assert len(shown) == len(set(shown))
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    outside = {name for name in navigation.PAGES.values() if name != "index"}
    assert set(shown) == pages | outside | {"api/index"}
    assert {group.guide for group in reference.GROUPS.values()} - {""} <= pages
    assert all((ROOT / name).is_file() for name in navigation.PAGES)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("origin", ["https://example.org/lib.git", "git@example.org:lib.git", ""])
def test_links_of_the_readme_are_dead_on_the_page_of_the_package(origin, tmp_path, monkeypatch):
    class Hook:
        def __init__(self, root: Path) -> None:
            self.root = str(root)

    interface = ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = Hook  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    for name in ("README.md", "docs/site/address.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    if origin:
        command = ["git", "-C", str(tmp_path), "remote", "add", "origin", origin]
        subprocess.run(command, check=True)
    metadata: dict[str, Any] = {}
    runpy.run_path(str(ROOT / "hatch_build.py"))["Published"](tmp_path).update(metadata)
    links = re.findall(r"\]\(([^)]+)\)", metadata["readme"]["text"])
    if origin:
        assert len(links) > 8 and all(link.startswith("https://example.org/lib/") for link in links)
        assert metadata["urls"]["Issues"] == "https://example.org/lib/issues"
    else:
        assert not links and "urls" not in metadata


def test_the_readme_is_read_in_two_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```|\]\([^)]*\)|[|`*#-]", " ", text, flags=re.M | re.S)
    assert len(prose.split()) <= WORDS_IN_TWO_MINUTES


@pytest.mark.parametrize("page", ["README.md", "docs/measured.md"])
def test_a_row_of_figures_names_no_script_that_measures_it_again(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!---|what |compared ).*\|$", text, flags=re.M)
    assert len(rows) >= 5
    for row in rows:
        last = row.rstrip("|").rpartition("|")[2]
        named = re.findall(r"`((?:benchmarks|campaigns|tests)/[\w./]+)`", last)
        assert named, row
        assert all((ROOT / name).exists() for name in named), row


def test_a_bug_report_contains_the_versions_and_ci_runs_the_same_as_we_do() -> None:
    folder = ROOT / ".github"
    assert "`spikeloom info`" in (folder / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    assert "run: .ci/run" in (folder / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_notebook_needs_no_file_beside_it(name: str) -> None:
    pytest.importorskip("jupytext")
    pytest.importorskip("nbclient")
    made = part("notebooks").notebook(name)
    code = "\n".join(cell.source for cell in made.cells if cell.cell_type == "code")
    assert "from common import" not in code and "class Tutorial" in code
    assert "%pip install" in made.cells[1].source
    assert made.cells[0].source.startswith("# ")
    assert f'Tutorial("{name}")' in code


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
@pytest.mark.filterwarnings("ignore")  # those of Jupyter's packages
def test_a_cell_of_a_notebook_fails_in_smoke_mode(name: str, tmp_path: Path) -> None:
    for package in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(package)
    text = part("notebooks").execute(name, tmp_path).read_text(encoding="utf-8")
    assert "image/png" in text and '"output_type": "error"' not in text
    assert str(tmp_path) not in text
