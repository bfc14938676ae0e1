"""The benchmark scripts run, print what they promise, and the order of their figures holds; times are not judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import spikeloom as snn

ROOT = Path(__file__).resolve().parent.parent


def printed(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout


def test_the_traced_loop_is_faster_than_the_eager_one() -> None:
    report = json.loads(printed("benchmarks/loop.py", "--smoke").splitlines()[-1])
    assert report["machine"]["threads"] == 1
    assert report["rows"][0]["eager loop / ours"] > 1


@pytest.mark.slow
def test_the_comparison_of_csbp_continues_where_it_was_and_pairs_by_seed(tmp_path: Path) -> None:
    results = tmp_path / "csbp.json"
    first = printed("benchmarks/csbp.py", "--smoke", "--results", str(results))
    kept = results.read_text()
    runs = json.loads(kept)
    assert len(runs) == 2 * 5 and all(0 <= run["last"] <= run["best"] <= 1 for run in runs.values())
    assert printed("benchmarks/csbp.py", "--smoke", "--results", str(results)) == first
    assert results.read_text() == kept
    rows = json.loads(first.splitlines()[-1])["rows"]
    assert rows[0]["contender"] == "plain" and len(rows) == 5
    mean = sum(b - a for a, b in zip(rows[0]["each"], rows[1]["each"], strict=True)) / 2
    assert abs(float(rows[1]["minus plain"].split()[0]) - mean) < 0.011
    assert any("is no chaos, a weak bias" in text for text in rows[1]["warned"])


@pytest.mark.slow
def test_the_single_neuron_script_draws_both_plots(tmp_path: Path) -> None:
    out = printed("benchmarks/single_neuron.py", "--out", str(tmp_path), "--epochs", "60")
    assert out.splitlines()[0].split()[:2] == ["w", "without"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"chaos_{name}.png" for name in ("without", "with", "exponents", "bifurcation"))
    }


def test_the_digits_benchmark_prints_mean_and_spread_over_seeds() -> None:
    short = ("--seeds", "2", "--epochs", "3", "--hidden", "128")
    last = printed("benchmarks/digits.py", *short).splitlines()[-1]
    assert last.startswith("mean ") and "standard deviation" in last
    assert float(last.split()[1]) > 70


def test_the_gpu_benchmark_measures_or_says_that_it_did_not() -> None:
    report = json.loads(printed("benchmarks/gpu.py", "--smoke").splitlines()[-1])
    measured = [row for row in report["rows"] if row["measured"] is not None]
    assert bool(measured) == (report["machine"]["gpu"] is not None)
    assert measured or "nothing was measured" in report["title"]


def test_the_stdp_benchmarks_print_accuracy_and_speed_and_keep_finished_seeds(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    out = str(tmp_path / "stdp.json")
    lines = printed("benchmarks/stdp.py", "--smoke", "--out", out).splitlines()
    accuracy = next(line for line in lines if "vote 'all'" in line)
    assert float(accuracy.split()[5]) > 50
    again = printed("benchmarks/stdp.py", "--smoke", "--out", out)
    assert accuracy in again and "seed 0" not in again, "a finished seed is not computed again"
    report = json.loads(printed("benchmarks/stdp_speed.py", "--smoke").splitlines()[-1])
    assert {"batched, batch 16", "event-driven"} <= {row["network"] for row in report["rows"]}


@pytest.mark.skipif(snn.backends()["numba"] != "available", reason="events are compiled by numba, the extra cpu")
def test_events_are_faster_than_the_dense_product_at_low_density() -> None:
    report = json.loads(printed("benchmarks/events.py", "--smoke").splitlines()[-1])
    assert [row["dense / events at 5 %"] > 1 for row in report["rows"]] == [True, True]
