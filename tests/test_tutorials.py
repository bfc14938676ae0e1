"""Every tutorial runs in its smoke mode, and its figures show what it claims, see
`tutorial_claims`."""

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from scripts import run_script
from tutorial_claims import CLAIMS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tutorials"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")


def figures(name: str, out: Path) -> dict[str, float]:
    """What a tutorial reports, run in this process; its pictures go to ``out``."""
    settings = {
        "SPIKELOOM_SMOKE": "1",
        "SPIKELOOM_OUT": str(out),
        "SPIKELOOM_DATA": "",
        "SPIKELOOM_DEVICE": "cpu",
    }
    _, printed = run_script(FOLDER / f"{name}.py", environment=settings)
    return json.loads(printed.splitlines()[-1])


@pytest.fixture
def no_figures() -> Iterator[None]:
    """Examples and tests that ran before in this process may have left some open. Afterwards,
    matplotlib's settings are those of before."""
    plt.close("all")
    with plt.rc_context():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", NAMES)
def test_the_tutorial_runs_and_its_figures_show_what_it_claims(name: str, tmp_path: Path) -> None:
    CLAIMS[name](**figures(name, tmp_path))
    pictures = [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".gif")]
    assert len(pictures) >= 1 and all(path.stat().st_size > 500 for path in pictures)
    assert not plt.get_fignums(), "figures are closed"


def test_a_tutorial_is_an_ordinary_script(tmp_path: Path) -> None:
    name = "tutorial_4_second_order_neurons"
    settings = {"SPIKELOOM_SMOKE": "1", "SPIKELOOM_OUT": str(tmp_path), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error", str(FOLDER / f"{name}.py")]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    CLAIMS[name](**json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", NAMES)
def test_the_tutorial_says_what_one_learns_and_is_divided_into_cells(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert "You learn" in (ast.get_docstring(tree) or "")
    assert text.count("\n# %% [markdown]\n") >= 4
    assert ast.unparse(tree.body[-1]).startswith("lesson.report("), "the figures come last"
    assert f'Tutorial("{name}")' in text
    assert f"tutorials/{name}.py" in (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")


def test_every_tutorial_has_claims_about_the_figures_that_it_reports() -> None:
    assert list(CLAIMS) == NAMES
    for name, claim in CLAIMS.items():
        last = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body[-1]
        assert isinstance(last, ast.Expr) and isinstance(last.value, ast.Call)
        reported = {keyword.arg for keyword in last.value.keywords}
        assert reported == inspect.signature(claim).parameters.keys(), name
