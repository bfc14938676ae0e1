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


def test_the_digits_benchmark_prints_mean_and_spread_over_seeds() -> None:
    short = ("--seeds", "2", "--epochs", "3", "--hidden", "128")
    last = printed("benchmarks/digits.py", *short).splitlines()[-1]
    assert last.startswith("mean ") and "standard deviation" in last
    assert float(last.split()[1]) > 70


@pytest.mark.skipif(snn.backends()["numba"] != "available", reason="events are compiled by numba, the extra cpu")
def test_events_are_faster_than_the_dense_product_at_low_density() -> None:
    report = json.loads(printed("benchmarks/events.py", "--smoke").splitlines()[-1])
    assert [row["dense / events at 5 %"] > 1 for row in report["rows"]] == [True, True]
