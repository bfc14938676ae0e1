"""Tests of another package, run on Spikeloom under that package's name.

    python benchmarks/peer_tests.py FOLDER [--package spikeloom] [--peer snntorch] [--show]

FOLDER holds the tests, such as the ``tests`` of snnTorch's source archive (``pip download --no-deps
--no-binary :all: snntorch==0.9.1``; later archives contain none, its repository has more). Wherever
they import the peer they get ``--package``, which may also be the peer itself, for comparison. A
file that cannot be imported counts as one test. Prints each test that fails with its reason: a
documented difference, or the last line of the error. Ends with code 1 if a failure is not a
documented difference.
"""

import argparse
import importlib
import importlib.abc
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from common import machine

ROUNDING = "the gradient sums a million products in torch; snnTorch misses the bound too"

# Tests that ask for what snnTorch does and Spikeloom means to do otherwise; see
# docs/compatibility.md.
DOCUMENTED = {
    "test_mse_count_loss_weighted": "weights of a loss act on samples, not on squared errors",
    "test_mse_membrane_loss_weighted": "weights of a loss act on samples, not on squared errors",
    "test_mse_temporal_loss_weighted": "weights of a loss act on samples, not on squared errors",
    "test_fail_fast_unimplemented_apis": "what snnTorch refuses works here",
    "test_chunking_with_gd": ROUNDING,
    "test_chunking_with_gd_internal_linear": ROUNDING,
    "test_export_NetWithAvgPool": "a function without a NIR node is refused, not left out",
    "test_rsynaptic_documentation_example_runs_and_backpropagates": "runs snnTorch's docstring",
}


class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the modules of one package where those of another are imported."""

    def __init__(self, peer: str, package: str) -> None:
        self.peer = peer
        self.package = package
        self.own: dict[str, ModuleSpec | None] = {}  # what the import system replaces meanwhile

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        wanted = name.partition(".")[0] == self.peer
        return importlib.util.spec_from_loader(name, self) if wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.package + spec.name.removeprefix(self.peer))
        self.own[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it was: it has run under its own name."""
        alias = module.__spec__
        assert alias is not None
        module.__spec__ = self.own[alias.name]


class Results:
    """Collects what became of each test, and why."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed[report.nodeid] = last_line(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed[report.nodeid] = last_line(report)
        elif report.when == "call" and report.passed:
            self.passed.append(report.nodeid)


def last_line(report: pytest.CollectReport | pytest.TestReport) -> str:
    """The error itself, without the way to it."""
    lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
    return lines[0].removeprefix("E").strip() if lines else report.longreprtext[-200:]


def documented(test: str) -> str | None:
    """The difference that a test asks for, if it is one of those that are meant."""
    return DOCUMENTED.get(test.rpartition("::")[2].partition("[")[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--package", default="spikeloom")
    parser.add_argument("--peer", default="snntorch")
    parser.add_argument("--show", action="store_true", help="pytest's own output too")
    settings = parser.parse_args()
    folder = settings.folder.resolve()
    if settings.package != settings.peer:
        sys.meta_path.insert(0, Alias(settings.peer, settings.package))
    results = Results()
    os.chdir(folder.parent)  # the tests read their files from there
    shown = ["-q"] if settings.show else ["-q", "--no-header", "--no-summary", "--tb=short"]
    apart = [
        "--continue-on-collection-errors",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        str(folder),
    ]
    pytest.main([*shown, *apart, str(folder)], plugins=[results])
    known = {test: documented(test) for test in results.failed}
    for test, error in results.failed.items():
        print(f"{test}\n    {known[test] or error}")
    total = len(results.passed) + len(results.failed)
    print(f"{len(results.passed)} of {total} tests of {settings.peer} pass on {settings.package}")
    row = {
        "package": settings.package,
        "passed": len(results.passed),
        "tests": total,
        "documented": sum(reason is not None for reason in known.values()),
    }
    print(json.dumps({"title": "Tests of a peer", "machine": machine(), "rows": [row]}))
    return 0 if total and all(known.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
