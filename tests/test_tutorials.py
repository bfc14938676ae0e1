"""Every tutorial runs, and arrives at the figures of `golden/tutorials.json`, in its smoke mode.

The golden file holds ``figure: [value, tolerance]``. What is exact (counts of a single neuron, equal spikes) has a
small tolerance; what a training arrives at has a wide one, because another rounding lets single spikes come or go.
``python -m tests.test_tutorials`` records the values anew and keeps the tolerances.
"""

import ast
import io
import json
import os
import runpy
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tutorials"
GOLDEN = ROOT / "tests" / "golden" / "tutorials.json"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")
TRAINED = ("accuracy", "auc", "sensitivity", "specificity", "recall", "loss", "error", "rate", "votes", "explained")


def figures(name: str, out: Path) -> dict[str, float]:
    """What a tutorial reports, run in this process; its pictures go to ``out``."""
    settings = {"SPIKELOOM_SMOKE": "1", "SPIKELOOM_OUT": str(out), "SPIKELOOM_DATA": "", "SPIKELOOM_DEVICE": "cpu"}
    sys.modules.pop("common", None)
    printed = io.StringIO()
    environment, path = mock.patch.dict(os.environ, settings), mock.patch("sys.path", [str(FOLDER), *sys.path])
    with environment, path, redirect_stdout(printed):
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    return json.loads(printed.getvalue().splitlines()[-1])


def golden() -> dict[str, dict[str, tuple[float, float]]]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture
def no_figures() -> None:
    """Examples and tests that ran before in this process may have left some open."""
    plt.close("all")


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", NAMES)
def test_the_tutorial_runs_and_arrives_at_its_figures(name: str, tmp_path: Path) -> None:
    found, expected = figures(name, tmp_path), golden()[name]
    assert found.keys() == expected.keys()
    wrong = {
        figure: f"{found[figure]} instead of {value} +- {tolerance}"
        for figure, (value, tolerance) in expected.items()
        if not abs(found[figure] - value) <= tolerance
    }
    assert not wrong
    pictures = [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".gif")]
    assert len(pictures) >= 1 and all(path.stat().st_size > 500 for path in pictures)
    assert not plt.get_fignums(), "figures are closed"


def test_a_tutorial_is_an_ordinary_script(tmp_path: Path) -> None:
    name = "tutorial_4_second_order_neurons"
    settings = {"SPIKELOOM_SMOKE": "1", "SPIKELOOM_OUT": str(tmp_path), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error", str(FOLDER / f"{name}.py")]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]).keys() == golden()[name].keys()


@pytest.mark.parametrize("name", NAMES)
def test_the_tutorial_says_what_one_learns_and_is_divided_into_cells(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert "You learn" in (ast.get_docstring(tree) or "")
    assert text.count("\n# %% [markdown]\n") >= 4
    assert ast.unparse(tree.body[-1]).startswith("lesson.report("), "the figures come last"
    assert f'Tutorial("{name}")' in text
    assert f"tutorials/{name}.py" in (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")


def test_the_recorded_figures_show_what_the_tutorials_claim() -> None:
    recorded = {name: {figure: value for figure, (value, _) in found.items()} for name, found in golden().items()}
    assert recorded.keys() == set(NAMES)
    assert all(found.get("same_spikes_as_loop", 1.0) > 0.999 for found in recorded.values())
    assert recorded["population_coding"]["gain"] > 0.05
    assert recorded["regression_2"]["recall_with"] > recorded["regression_2"]["recall_without"] + 0.2
    assert recorded["exoplanets"]["auc_step"] > recorded["exoplanets"]["auc_whole_shifts"]
    assert recorded["tutorial_5_training"]["second_loss"] < recorded["tutorial_5_training"]["first_loss"]
    assert recorded["tutorial_6_convolutional_network"]["test_accuracy"] > 0.5


def tolerance(figure: str, value: float) -> float:
    """For a figure that is recorded for the first time."""
    if any(part in figure for part in TRAINED):
        return round(max(0.15, 0.3 * abs(value)), 6)
    return round(0.01 * abs(value) + 1e-5, 6)


def record(names: list[str]) -> None:
    """Run tutorials and write what they report into the golden file."""
    content = golden() if GOLDEN.exists() else {}
    for name in names:
        with tempfile.TemporaryDirectory() as out:
            found = figures(name, Path(out))
        before = content.get(name, {})
        content[name] = {
            figure: [value, before[figure][1] if figure in before else tolerance(figure, value)]
            for figure, value in found.items()
        }
        GOLDEN.write_text(json.dumps(dict(sorted(content.items())), indent=2) + "\n", encoding="utf-8")
        print(name, found, flush=True)


if __name__ == "__main__":
    record(sys.argv[1:] or NAMES)
